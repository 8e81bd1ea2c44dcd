"""Workers: started or let in, asked, cancelled, and missed when they die. What they are asked is not its business."""

from bulkup.workers.channel import Attempt
from bulkup.workers.pool import Pool, WorkerLost
from bulkup.workers.serving import Handler, Tell, serve

__all__ = ["Attempt", "Handler", "Pool", "Tell", "WorkerLost", "serve"]
