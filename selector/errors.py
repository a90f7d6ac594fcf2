"""Which errors are the user's to solve: their message is shown as it is, without a traceback."""

from __future__ import annotations

from selector.placement import ClusterError
from selector.search import SearchError
from selector.study import RequestError
from storage.errors import StorageError
from trainers.checkpoint import BackboneError
from trainers.export import ExportError
from trainers.task import TaskError

USER_ERRORS = (TaskError, BackboneError, RequestError, StorageError, ExportError, SearchError, ClusterError)
