"""Worker processes: started, asked, cancelled, and missed when they die. What they are asked is none of this package's business."""

from bulkup.workers.pool import Pool, WorkerLost
from bulkup.workers.serving import Handler, Tell, serve

__all__ = ["Handler", "Pool", "Tell", "WorkerLost", "serve"]
