"""Which errors are the user's to solve: their message is shown as it is, without a traceback."""

from __future__ import annotations

from selector.placement import ClusterError
from selector.study import RequestError, SearchError
from storage.errors import StorageError
from trainers.errors import BackboneError, ExportError, TaskError

USER_ERRORS = (TaskError, BackboneError, RequestError, StorageError, ExportError, SearchError, ClusterError)
