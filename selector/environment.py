"""Settings that must stand before torch, Ray or transformers are imported for the first time."""

from __future__ import annotations

import os

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Despite its name, 0 makes Ray listen on loopback only, on Linux too; a test asserts it."""

WORKER_SETTINGS = {
    # Waiting OpenMP threads must not spin: on a busy machine that costs up to 70 times (docs/performance.md).
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""What workers on other machines need too."""

SETTINGS = {
    **WORKER_SETTINGS,
    LOOPBACK: "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's own memory monitor ends a whole Tune run instead of one trial.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Ctrl-C is ours (selector/stopping.py): Tune would leave at once and return as if all were done.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


def prepare() -> None:
    """Apply the settings; what the user has set stays."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def leave_loopback() -> None:
    """Let Ray speak to other machines, as joining a cluster needs; Ray reads this when it is imported.

    Only the setting of `prepare` is taken back: a user who says `false` keeps Ray on loopback.
    """
    if os.environ.get(LOOPBACK) == SETTINGS[LOOPBACK]:
        os.environ[LOOPBACK] = "1"
