-- Adds one event to its session's stream. Only commands of Redis 6.2.
--
-- KEYS[1]  the stream, {PREFIX:BRAND}:coord:SESSION
-- ARGV     the event as JSON, how many to keep at least, the lifetime in milliseconds
--
-- Each entry names the one before it (p, empty for the first), so that a reader sees what was wiped or cut away.

local KEY = KEYS[1]
local call = redis.call

local kind = call('TYPE', KEY).ok
if kind ~= 'stream' and kind ~= 'none' then call('DEL', KEY) end  -- a list, as an earlier build kept it
local last = call('XREVRANGE', KEY, '+', '-', 'COUNT', 1)[1]
call('XADD', KEY, 'MAXLEN', '~', ARGV[2], '*', 'e', ARGV[1], 'p', last and last[1] or '')
call('PEXPIRE', KEY, ARGV[3])
return 1
