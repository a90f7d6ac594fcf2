"""The method catalogue: importing this package registers every method in it.

A file added here is found by its presence; nothing else lists the methods.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
