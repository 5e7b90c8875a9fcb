"""What may be forgotten: content cache, brand cache, agent status, envelopes of money."""

from memory.cache.protocol import Cache as Cache
from memory.cache.protocol import CacheStore as CacheStore
from memory.cache.protocol import Held as Held
from memory.cache.protocol import content_key as content_key
from memory.cache.protocol import open_cache as open_cache
