"""What happens in a session, told to whoever follows it."""

from memory.events.protocol import START as START
from memory.events.protocol import EventStore as EventStore
from memory.events.protocol import EventStream as EventStream
from memory.events.protocol import Page as Page
from memory.events.protocol import open_events as open_events
