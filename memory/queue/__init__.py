"""Work waiting for a worker."""

from memory.queue.protocol import Depth as Depth
from memory.queue.protocol import Enqueued as Enqueued
from memory.queue.protocol import Lease as Lease
from memory.queue.protocol import Owner as Owner
from memory.queue.protocol import Task as Task
from memory.queue.protocol import TaskQueue as TaskQueue
from memory.queue.protocol import open_queue as open_queue
