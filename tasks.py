"""The Invoke entry of a checkout."""

from pgha.tasks import namespace

__all__ = ["namespace"]
