-- The index of a brand's pending reviews: one verb a call, all or nothing, harmless to repeat. Only commands of Redis 6.2.
--
-- KEYS[1]  compliance_review_queue under the brand's prefix: a sorted set of JSON tasks, the most urgent first
-- ARGV[1]  the verb; ARGV[2] a token of this call; ARGV[3…] its arguments
--
-- Beside it, in the hash |id: a review's id -> its JSON, by which it is found again; |until, the instant in epoch milliseconds
-- of the server's clock until which the index is believed; |change, the token of the last change. What was evicted is noticed
-- by what the other key holds.

local QUEUE, ID = KEYS[1], KEYS[1] .. '|id'
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function remove(id)
  local old = call('HGET', ID, id)
  if old then
    call('ZREM', QUEUE, old)
    call('HDEL', ID, id)
  end
end

local function put(reviews)
  for n = 1, #reviews, 3 do
    remove(reviews[n])
    call('ZADD', QUEUE, reviews[n + 1], reviews[n + 2])
    call('HSET', ID, reviews[n], reviews[n + 2])
  end
end

local verbs = {}

-- Id, score and JSON of each.
function verbs.put(token, ...)
  put({ ... })
  call('HSET', ID, '|change', token)
  return 1
end

function verbs.remove(token, ...)
  for _, id in ipairs({ ... }) do remove(id) end
  call('HSET', ID, '|change', token)
  return 1
end

-- 1 and all of them in order; 0 and the last change where the index is not known to be whole.
function verbs.pending()
  local stays = tonumber(call('HGET', ID, '|until') or 0)
  if now < stays and call('HLEN', ID) == call('ZCARD', QUEUE) + 2 then
    return { 1, call('ZRANGE', QUEUE, 0, -1) }
  end
  return { 0, call('HGET', ID, '|change') or '' }
end

-- The last change that the caller knows of, the lifetime in milliseconds; then id, score and JSON of each.
function verbs.rebuild(token, change, ttl, ...)
  if (call('HGET', ID, '|change') or '') ~= change then return 0 end
  call('DEL', QUEUE, ID)
  put({ ... })
  call('HSET', ID, '|until', string.format('%.0f', now + ttl), '|change', token)
  return 1
end

return verbs[ARGV[1]](unpack(ARGV, 2))
