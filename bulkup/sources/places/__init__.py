"""Data that is on no local disk: in buckets, on web servers, on the hub. It is listed, and read by ranges or as a stream."""

from bulkup.sources.places.address import Access, Remote, hide, is_many, is_remote
from bulkup.sources.places.place import close_all

__all__ = ["Access", "Remote", "close_all", "hide", "is_many", "is_remote"]
