-- Every change of the cache: one verb a call, all or nothing, harmless to repeat. Only commands of Redis 6.2.
--
-- KEYS[1]  the key, under the brand's prefix; KEYS[2] the brand's prefix
-- ARGV[1]  empty: the server's own expiry. Otherwise now in epoch milliseconds of a test's clock, which the server cannot
--          know: lifetimes then stand in the sorted set PREFIX|expires, and what is over is deleted where it is met
-- ARGV[2]  the verb; ARGV[3…] its arguments
--
-- A value is a string of JSON. An envelope is a hash: i and the item's name -> its amount, t the
-- total, k when the envelope is known. Amounts are whole billionths of a dollar. They are summed by HINCRBY and compared as
-- text, because Lua's numbers are exact only up to 2^53.

local KEY, EXPIRES = KEYS[1], KEYS[2] .. '|expires'
local call = redis.call
local now = tonumber(ARGV[1])

local function forget(key)
  if now then call('ZREM', EXPIRES, key) end
  return call('DEL', key)
end

local function live(key, ttl)
  if now then
    call('ZADD', EXPIRES, string.format('%.0f', now + ttl), key)
  else
    call('PEXPIRE', key, string.format('%.0f', ttl))
  end
end

local function left(key)
  if now then return tonumber(call('ZSCORE', EXPIRES, key) or now) - now end
  return call('PTTL', key)
end

-- Whether the key holds that kind of thing.
local function is(kind) return call('TYPE', KEY).ok == kind end
local function make(kind)
  if not is(kind) and not is('none') then forget(KEY) end
end

local function above(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end

-- Put the item at the amount; the total after it, as text.
local function set_item(item, amount)
  local before = call('HGET', KEY, 'i' .. item) or '0'
  call('HINCRBY', KEY, 't', amount)  -- added first: a sum that overflows fails here, with nothing changed
  if before ~= '0' then call('HINCRBY', KEY, 't', '-' .. before) end
  call('HSET', KEY, 'i' .. item, amount)
  return call('HGET', KEY, 't'), before
end

local verbs = {}

function verbs.get()
  return is('string') and call('GET', KEY)
end

function verbs.put(text, ttl)
  call('SET', KEY, text)
  live(KEY, tonumber(ttl))
  return 1
end

function verbs.delete()
  return forget(KEY)
end

function verbs.hold(item, amount, ceiling)
  if not is('hash') or not call('HGET', KEY, 'k') then return 'missing' end
  local known = call('HEXISTS', KEY, 'i' .. item) == 1
  local total, before = set_item(item, amount)
  if not above(total, ceiling) then return 'granted' end
  set_item(item, before)
  if not known then call('HDEL', KEY, 'i' .. item) end
  return 'refused'
end

-- unclaimed: how long an envelope that nobody rebuilds is kept
function verbs.set_hold(item, amount, unclaimed)
  make('hash')
  set_item(item, amount)
  if not call('HGET', KEY, 'k') then live(KEY, tonumber(unclaimed)) end
  return 1
end

-- Items and amounts, for an envelope that stays as unknown, or known, as it is. What is held already is newer than what the
-- caller read before it came here.
function verbs.fill(unclaimed, ...)
  make('hash')
  local given = { ... }
  call('HINCRBY', KEY, 't', 0)
  for n = 1, #given, 2 do
    if call('HEXISTS', KEY, 'i' .. given[n]) == 0 then set_item(given[n], given[n + 1]) end
  end
  if not call('HGET', KEY, 'k') then live(KEY, tonumber(unclaimed)) end
  return 1
end

function verbs.rebuild(ttl, ...)
  verbs.fill(ttl, ...)
  call('HSET', KEY, 'k', '1')
  live(KEY, math.max(tonumber(ttl), left(KEY)))
  return 1
end

function verbs.held()
  return is('hash') and call('HGET', KEY, 'k') and call('HGET', KEY, 't')
end

function verbs.sweep()
  local ended = call('ZRANGEBYSCORE', EXPIRES, '-inf', ARGV[1])
  for _, key in ipairs(ended) do forget(key) end
  return #ended
end

if now and ARGV[2] ~= 'sweep' and left(KEY) <= 0 and call('EXISTS', KEY) == 1 then forget(KEY) end
return verbs[ARGV[2]](unpack(ARGV, 3))
