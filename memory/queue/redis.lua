-- Every transition of the task queue. One call carries one or more operations; each is all or nothing, and what the caller
-- may have got wrong is answered as data, before anything is written. Only commands of Redis 6.2 (a test parses this file).
--
-- KEYS[1]  the prefix of every key, which ends with a colon and holds the cluster's hash tag
-- ARGV[1]  now in epoch milliseconds; empty: the server's TIME
-- ARGV[2]  the lane, a name of the one connection that sends these calls one after the other
-- ARGV[3]  the number of this call in its lane: a repeat, after a lost answer, gets the first answer again
-- ARGV[4]  the bound of the waiting tasks of each queue
-- ARGV[5…] the operations: a verb, how many arguments follow, the arguments
-- The answer is one string, because a client takes longer to read a hundred than to cut one: for each operation the number of
-- its answers and the length of each, all in one line, and behind that line the answers.
--
-- Keys, after the prefix; no queue or brand holds a `|`:
--   |task|ID                  hash, one task; counts that are 0 and an empty reason are left out
--   QUEUE|delayed             sorted set by run_at: tasks that were not due when they came
--   QUEUE|ready|PRIORITY|BRAND   sorted set by run_at: tasks that were due; QUEUE|suspect|… those with two deaths or more
--   QUEUE|ready, QUEUE|suspect   sorted set of PRIORITY|BRAND: which of those sets hold anything, urgent first, then whose
--                             turn is longest ago, so that the brands of one priority take turns
--   |leased                   sorted set by expires_at
--   |dead                     sorted set by died_at
--   |queues                   hash: counts (waiting, leased, dead) and settings (paused, limit) as FIELD|QUEUE
--   |hints                    stream: that a queue has changed for which somebody waits (wait|QUEUE in |queues)
--   |counters                 hash: seq, the order of first enqueueing; turn, the turns taken so far
--   |owners                   hash: who may hold leases, by the name that their tasks keep
--   |lane|LANE                the number of a lane's last call in 16 digits and its answer, for ten minutes
-- Members that stand for a task are its seq in 16 digits and its id, so that equal scores keep the order of arrival.

local P = KEYS[1]
local call = redis.call
local LEVEL = 17592186044416  -- 2^44: more turns than there will be; ten levels of it fit a double
local LANE_MS = 600000

local now = tonumber(ARGV[1])
if not now then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local NOW = string.format('%.0f', now)

local function task_key(id) return P .. '|task|' .. id end
local function member(t) return string.format('%016.0f', t.seq) .. t.id end
local function id_of(name) return string.sub(name, 17) end
local function class_of(t) return t.deaths >= 2 and '|suspect' or '|ready' end

-- Counts are written once, at the end of the script: a call of a hundred operations changes them a hundred times.
local changes = {}
local function count(what, queue, by)
  local field = what .. '|' .. queue
  changes[field] = (changes[field] or 0) + by
end
local function counted(stored, what, queue) return tonumber(stored or 0) + (changes[what .. '|' .. queue] or 0) end
local function write_counts()
  for field, by in pairs(changes) do
    if by ~= 0 then call('HINCRBY', P .. '|queues', field, by) end
  end
  changes = {}
end

local function next_turn() return call('HINCRBY', P .. '|counters', 'turn', 1) end
local function turn_score(priority, turn) return string.format('%.0f', (10 - priority) * LEVEL + turn) end

local function load(id)
  local f = call('HMGET', task_key(id), 'state', 'queue', 'brand', 'priority', 'run_at', 'deaths', 'seq', 'token',
    'expires_at', 'solo', 'again_at')
  if not f[1] then return nil end
  return {
    id = id, state = f[1], queue = f[2], brand = f[3], priority = tonumber(f[4]), run_at = f[5], deaths = tonumber(f[6] or 0),
    seq = tonumber(f[7]), token = f[8], expires_at = tonumber(f[9] or nil), solo = f[10], again_at = f[11],
  }
end

-- Where a waiting task stands. The caller writes its hash and its counts.

local function place_ready(t)
  local level = t.priority .. '|' .. t.brand
  local ring = P .. t.queue .. class_of(t)
  call('ZADD', ring .. '|' .. level, t.run_at, member(t))
  if not call('ZSCORE', ring, level) then call('ZADD', ring, turn_score(t.priority, next_turn()), level) end
end

local touched = {}  -- queues from which a claim may now find something: because of new 'work', or of 'room'

local function place(t)
  touched[t.queue] = 'work'
  if tonumber(t.run_at) <= now then
    place_ready(t)
  else
    call('ZADD', P .. t.queue .. '|delayed', t.run_at, member(t))
  end
end

local function displace(t)
  if call('ZREM', P .. t.queue .. '|delayed', member(t)) == 0 then
    local level = t.priority .. '|' .. t.brand
    local ring = P .. t.queue .. class_of(t)
    call('ZREM', ring .. '|' .. level, member(t))
    if call('EXISTS', ring .. '|' .. level) == 0 then call('ZREM', ring, level) end
  end
end

local function promote_due(queue)
  local delayed = P .. queue .. '|delayed'
  while true do
    local due = call('ZRANGEBYSCORE', delayed, '-inf', NOW, 'LIMIT', 0, 500)
    if #due == 0 then return end
    call('ZREM', delayed, unpack(due))
    for _, name in ipairs(due) do place_ready(load(id_of(name))) end
  end
end

-- The ends of a lease. ZREM comes first everywhere: a server that is out of memory lets a script go on that has written
-- already, so work can be finished and given back even then.

local function end_lease(t)
  call('ZREM', P .. '|leased', member(t))
  count('leased', t.queue, -1)
  touched[t.queue] = touched[t.queue] or 'room'
end

local function unlease(t)
  end_lease(t)
  call('HDEL', task_key(t.id), 'token', 'expires_at', 'owner', 'solo', 'again_at')
end

local function back_to_waiting(t, ...)
  unlease(t)
  call('HSET', task_key(t.id), 'state', 'waiting', ...)
  count('waiting', t.queue, 1)
  place(t)
end

local function take_back(t)
  t.deaths = t.deaths + 1
  local solo = t.solo == '1' and 1 or 0
  back_to_waiting(t, 'deaths', t.deaths)
  if solo == 1 then call('HINCRBY', task_key(t.id), 'solo_deaths', 1) end
end

local function take_back_ended()
  local ended = call('ZRANGEBYSCORE', P .. '|leased', '-inf', NOW)
  for _, name in ipairs(ended) do take_back(load(id_of(name))) end
  return #ended
end

-- What a current lease needs to be told by; `load` has the rest.
local function held(id, token)
  local f = call('HMGET', task_key(id), 'token', 'expires_at', 'queue', 'seq', 'again_at')
  -- Strictly later: at the instant `expires_at` the lease is over.
  if f[1] ~= token or tonumber(f[2]) <= now then return nil end
  return { id = id, queue = f[3], seq = tonumber(f[4]), again_at = f[5] }
end

local WRITTEN = { 'seq', 'kind', 'queue', 'brand', 'run_at', 'priority', 'attempts', 'deaths', 'solo_deaths', 'reason',
  'payload', 'state' }

-- One string for one task: numbers and names, then the texts by their lengths in bytes. Nil where there is none of `state`.
local function written(id, state)
  local f = call('HMGET', task_key(id), unpack(WRITTEN))
  if state and f[12] ~= state then return nil end
  local reason, payload = f[10] or '', f[11]
  return table.concat({ f[1], f[2], f[3], f[4], f[5], f[6], f[7] or 0, f[8] or 0, f[9] or 0, #id, #reason, '' }, '|')
    .. id .. reason .. payload
end

local verbs = {}

-- 7 a task: id, kind, queue, brand, priority, run_at, payload
function verbs.enqueue(a)
  local new, fresh, news = {}, {}, 0
  for i = 1, #a, 7 do
    local id = a[i]
    local found = new[id]
    if not found then
      local f = call('HMGET', task_key(id), 'state', 'kind', 'queue', 'brand', 'payload')
      if f[1] then found = f end
    end
    if found then
      for n, field in ipairs({ 'kind', 'queue', 'brand' }) do
        if found[n + 1] ~= a[i + n] then return { 'conflict', id, field, found[n + 1], a[i + n] } end
      end
      if found[5] ~= a[i + 6] then return { 'conflict', id, 'payload', string.sub(found[5], 1, 80), string.sub(a[i + 6], 1, 80) } end
    else
      new[id] = { 'waiting', a[i + 1], a[i + 2], a[i + 3], a[i + 6] }
      fresh[a[i + 2]] = (fresh[a[i + 2]] or 0) + 1
      news = news + 1
    end
  end
  for queue, added in pairs(fresh) do
    local waiting = counted(call('HGET', P .. '|queues', 'waiting|' .. queue), 'waiting', queue)
    if waiting + added > tonumber(ARGV[4]) then return { 'full', queue } end
  end
  local seq = news > 0 and call('HINCRBY', P .. '|counters', 'seq', news) - news or 0
  local answers = {}
  for i = 1, #a, 7 do
    local id, queue, priority, run_at = a[i], a[i + 2], tonumber(a[i + 4]), a[i + 5]
    if new[id] then
      seq = seq + 1
      new[id] = nil
      call('HSET', task_key(id), 'state', 'waiting', 'kind', a[i + 1], 'queue', queue, 'brand', a[i + 3],
        'priority', a[i + 4], 'run_at', run_at, 'seq', seq, 'payload', a[i + 6])
      place({ id = id, queue = queue, brand = a[i + 3], priority = priority, run_at = run_at, deaths = 0, seq = seq })
      answers[#answers + 1] = 'created'
    else
      local t = load(id)
      if t.state == 'dead' then
        answers[#answers + 1] = 'dead'
      elseif t.state == 'leased' then
        local again = math.max(tonumber(t.again_at or run_at), tonumber(run_at))
        call('HSET', task_key(id), 'again_at', string.format('%.0f', again),
          'priority', math.max(t.priority, priority))
        answers[#answers + 1] = 'again'
      else
        if tonumber(run_at) < tonumber(t.run_at) or priority > t.priority then
          displace(t)
          if tonumber(run_at) < tonumber(t.run_at) then t.run_at = run_at end
          t.priority = math.max(t.priority, priority)
          call('HSET', task_key(id), 'run_at', t.run_at, 'priority', t.priority)
          place(t)
        end
        answers[#answers + 1] = 'exists'
      end
    end
  end
  for queue, added in pairs(fresh) do count('waiting', queue, added) end
  return answers
end

-- The queues of `names` that may give tasks, each with its room.
local function open_queues(names, limit)
  local open = {}
  for _, queue in ipairs(names) do
    local f = call('HMGET', P .. '|queues', 'paused|' .. queue, 'limit|' .. queue, 'leased|' .. queue)
    local room = limit
    if f[2] then room = math.min(limit, tonumber(f[2]) - counted(f[3], 'leased', queue)) end
    if f[1] ~= '1' and room > 0 then
      promote_due(queue)
      open[#open + 1] = { name = queue, room = room, passed = 0 }
    end
  end
  return open
end

local function sooner(a, b)
  if a.priority ~= b.priority then return a.priority > b.priority end
  if a.run_at ~= b.run_at then return a.run_at < b.run_at end
  return a.member < b.member
end

-- The brand and priority whose turn it is over the open queues, and whether it has this priority to itself.
local function next_level(open, class, skipped)
  local best, best_score, alone
  for _, queue in ipairs(open) do
    local heads
    repeat
      heads = call('ZRANGE', P .. queue.name .. class, queue.passed, queue.passed + 1, 'WITHSCORES')
      local skip = heads[1] and skipped[heads[1]]
      if skip then queue.passed = queue.passed + 1 end
    until not skip
    for n = 1, #heads, 2 do
      local level, score = heads[n], tonumber(heads[n + 1])
      if not skipped[level] then
        if not best then
          best, best_score, alone = level, score, true
        elseif level ~= best then
          if math.floor(score / LEVEL) == math.floor(best_score / LEVEL) then
            alone = false
            if score < best_score then best, best_score = level, score end
          elseif score < best_score then
            best, best_score, alone = level, score, true
          end
        end
      end
    end
  end
  return best, alone
end

-- The due tasks to lease, best first, taken out of their places.
local function best_of_all(open, class, limit)
  local best, skipped = {}, {}
  while #best < limit and #open > 0 do
    local level, alone = next_level(open, class, skipped)
    if not level then break end
    local wanted = alone and math.min(limit - #best, 1000) or 1  -- unpack() below has a bound of its own
    local offers = {}
    for _, queue in ipairs(open) do
      local due = call('ZRANGEBYSCORE', P .. queue.name .. class .. '|' .. level, '-inf', NOW, 'WITHSCORES',
        'LIMIT', 0, math.min(wanted, queue.room))
      for n = 1, #due, 2 do
        offers[#offers + 1] = { queue = queue, priority = 0, run_at = tonumber(due[n + 1]), member = due[n] }
      end
    end
    if #open > 1 then table.sort(offers, sooner) end
    if #offers == 0 then skipped[level] = true end
    local taken = {}
    for n = 1, math.min(wanted, #offers) do
      local offer = offers[n]
      best[#best + 1] = { id = id_of(offer.member), member = offer.member, queue = offer.queue.name }
      taken[offer.queue] = taken[offer.queue] or {}
      table.insert(taken[offer.queue], offer.member)
      offer.queue.room = offer.queue.room - 1
    end
    -- Alone, it needs no turn: whoever comes next stands behind it.
    local turn = #offers > 0 and not alone and turn_score(tonumber(string.match(level, '^%d+')), next_turn())
    local still_open = {}
    for _, queue in ipairs(open) do
      local ring = P .. queue.name .. class
      if taken[queue] then
        call('ZREM', ring .. '|' .. level, unpack(taken[queue]))
        if call('EXISTS', ring .. '|' .. level) == 0 then call('ZREM', ring, level) end
      end
      if turn then call('ZADD', ring, 'XX', turn, level) end
      if queue.room > 0 then still_open[#still_open + 1] = queue end
    end
    open = still_open
  end
  return best
end

-- The same among named tasks: nobody's turn, only the best.
local function best_named(open, solo, limit, ids)
  local rooms, offers, best, seen = {}, {}, {}, {}
  for _, queue in ipairs(open) do rooms[queue.name] = queue end
  for _, id in ipairs(ids) do
    local t = not seen[id] and load(id)
    seen[id] = true
    if t and t.state == 'waiting' and rooms[t.queue] and (t.deaths >= 2) == solo and tonumber(t.run_at) <= now then
      offers[#offers + 1] = { task = t, priority = t.priority, run_at = tonumber(t.run_at), member = member(t) }
    end
  end
  table.sort(offers, sooner)
  for _, offer in ipairs(offers) do
    local t = offer.task
    if #best < limit and rooms[t.queue].room > 0 then
      rooms[t.queue].room = rooms[t.queue].room - 1
      displace(t)
      best[#best + 1] = { id = t.id, member = offer.member, queue = t.queue }
    end
  end
  return best
end

-- The queues that are asked, whose number is a[at], and the ids behind the word 'only', if it stands there.
local function asked(a, at)
  local names, ids = {}, nil
  for n = at + 1, at + tonumber(a[at]) do names[#names + 1] = a[n] end
  at = at + 1 + #names
  if a[at] == 'only' then
    ids = {}
    for n = at + 1, #a do ids[#ids + 1] = a[n] end
  end
  return names, ids
end

-- Nothing can be claimed: in how many ms at the soonest it can by itself (empty: never), and the last hint; from now on, what
-- changes these queues is told in another. False where something can. `classes` are those that count.
local function await(names, ids, open, classes)
  local soonest = math.huge
  local function look(key)
    local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
    soonest = math.min(soonest, tonumber(first[2] or math.huge))
  end
  look(P .. '|leased')
  for _, queue in ipairs(open) do
    local key = P .. queue.name
    if not ids then look(key .. '|delayed') end
    for _, class in ipairs(classes) do
      for _, level in ipairs(ids and {} or call('ZRANGE', key .. class, 0, -1)) do look(key .. class .. '|' .. level) end
    end
    for _, id in ipairs(ids or {}) do
      local t = load(id)
      if t and t.state == 'waiting' and t.queue == queue.name and (classes[2] or t.deaths < 2) then
        soonest = math.min(soonest, tonumber(t.run_at))
      end
    end
  end
  if soonest <= now then return false end
  for _, queue in ipairs(names) do call('HSET', P .. '|queues', 'wait|' .. queue, 1) end
  local last = call('XREVRANGE', P .. '|hints', '+', '-', 'COUNT', 1)
  return soonest < math.huge and string.format('%.0f', soonest - now) or '', last[1] and last[1][1] or '0-0'
end

-- token, owner, the owner's name, ttl in ms, limit, solo as 0 or 1, the number of queues, the queues, 'only' and the ids
function verbs.claim(a)
  local token, owner, limit, solo = a[1], a[3], tonumber(a[5]), a[6] == '1'
  local expires_at = string.format('%.0f', now + tonumber(a[4]))
  local names, ids = asked(a, 7)
  take_back_ended()
  call('HDEL', P .. '|queues', 'wait|')  -- needs no memory, and lets the rest be written when there is none
  local open = open_queues(names, limit)
  local best
  if ids then
    best = best_named(open, solo, limit, ids)
  else
    best = best_of_all(open, solo and '|suspect' or '|ready', limit)
  end
  local answers, n, leased = { expires_at }, 0, {}
  for _, one in ipairs(best) do
    -- A hash that was lost alone leaves its old place behind; enqueued again, the task would stand here twice.
    local task = written(one.id, 'waiting')
    if task then
      n = n + 1
      call('HSET', task_key(one.id), 'state', 'leased', 'token', token .. '.' .. n, 'expires_at', expires_at, 'owner', owner,
        'solo', a[6])
      leased[#leased + 1] = expires_at
      leased[#leased + 1] = one.member
      if #leased == 1000 then  -- unpack() has a bound
        call('ZADD', P .. '|leased', unpack(leased))
        leased = {}
      end
      count('waiting', one.queue, -1)
      count('leased', one.queue, 1)
      answers[n + 1] = task
    end
  end
  if #leased > 0 then call('ZADD', P .. '|leased', unpack(leased)) end
  if #best == 0 and not solo and not ids then  -- whoever waits next need not ask again
    local in_ms, last = await(names, ids, open, { '|ready' })
    if in_ms then return { expires_at, '', in_ms, last } end
  end
  if n > 0 and call('HEXISTS', P .. '|owners', owner) == 0 then call('HSET', P .. '|owners', owner, a[2]) end
  return answers
end

-- solo as 0 or 1 (1: suspects count as well), the number of queues, the queues, 'only' and the ids. Answers 1 where a claim
-- would find something, else what `await` says.
function verbs.wait(a)
  call('HDEL', P .. '|queues', 'wait|')  -- needs no memory, and lets the rest be written when there is none
  local names, ids = asked(a, 2)
  take_back_ended()
  local in_ms, last = await(names, ids, open_queues(names, 1), a[1] == '1' and { '|ready', '|suspect' } or { '|ready' })
  return in_ms and { in_ms, last } or { 1 }
end

-- ttl in ms, then id and token of each lease
function verbs.extend(a)
  local expires_at = string.format('%.0f', now + tonumber(a[1]))
  local answers = { expires_at }
  for n = 2, #a, 2 do
    local t = held(a[n], a[n + 1])
    if t then
      call('ZADD', P .. '|leased', expires_at, member(t))
      call('HSET', task_key(t.id), 'expires_at', expires_at)
    end
    answers[#answers + 1] = t and 1 or 0
  end
  return answers
end

-- id and token of each lease
function verbs.complete(a)
  local answers = {}
  for n = 1, #a, 2 do
    local t = held(a[n], a[n + 1])
    if t and t.again_at then
      t = load(t.id)
      t.run_at, t.deaths = t.again_at, 0
      back_to_waiting(t, 'run_at', t.run_at, 'attempts', 0, 'deaths', 0, 'solo_deaths', 0, 'reason', '')
    elseif t then
      end_lease(t)
      call('DEL', task_key(t.id))
    end
    answers[#answers + 1] = t and 1 or 0
  end
  return answers
end

-- id, token, run_at (empty: now), and for a counted failure its reason
function verbs.give_back(a)
  if not held(a[1], a[2]) then return { 0 } end
  local t = load(a[1])
  t.run_at = a[3] ~= '' and a[3] or NOW
  back_to_waiting(t, 'run_at', t.run_at)
  if a[4] then
    call('HSET', task_key(t.id), 'reason', a[4])
    call('HINCRBY', task_key(t.id), 'attempts', 1)
  end
  return { 1 }
end

-- id, token
function verbs.progressed(a)
  local t = held(a[1], a[2])
  if not t then return { 0 } end
  call('HSET', task_key(t.id), 'deaths', 0, 'solo_deaths', 0)
  return { 1 }
end

-- What is seldom asked for: every call would otherwise pay for making these functions.
local function seldom()
  -- id, token, reason
  function verbs.bury(a)
    local t = held(a[1], a[2])
    if not t then return { 0 } end
    unlease(t)
    call('HSET', task_key(t.id), 'state', 'dead', 'died_at', NOW, 'reason', a[3])
    call('ZADD', P .. '|dead', NOW, member(t))
    count('dead', t.queue, 1)
    return { 1 }
  end

  -- Every owner that holds a lease; the others are forgotten.
  function verbs.owners()
    local seen, owners = {}, {}
    for _, name in ipairs(call('ZRANGE', P .. '|leased', 0, -1)) do
      seen[call('HGET', task_key(id_of(name)), 'owner') or ''] = true
    end
    local known = call('HGETALL', P .. '|owners')
    for n = 1, #known, 2 do
      if seen[known[n]] then
        owners[#owners + 1] = known[n]
        owners[#owners + 1] = known[n + 1]
      else
        call('HDEL', P .. '|owners', known[n])
      end
    end
    return owners
  end

  -- The names of the owners that are dead.
  function verbs.take_back(a)
    local dead, taken = {}, take_back_ended()
    for _, owner in ipairs(a) do dead[owner] = true end
    if #a > 0 then
      for _, name in ipairs(call('ZRANGE', P .. '|leased', 0, -1)) do
        local id = id_of(name)
        if dead[call('HGET', task_key(id), 'owner')] then
          take_back(load(id))
          taken = taken + 1
        end
      end
    end
    return { taken }
  end

  function verbs.list_dead(a)
    local answers = {}
    for _, name in ipairs(call('ZREVRANGE', P .. '|dead', 0, -1)) do
      local id = id_of(name)
      local f = call('HMGET', task_key(id), 'queue', 'died_at')
      if a[1] == '' or f[1] == a[1] then
        answers[#answers + 1] = f[2]
        answers[#answers + 1] = written(id)
      end
    end
    return answers
  end

  function verbs.requeue(a)
    local tasks = {}
    for n, id in ipairs(a) do
      tasks[n] = load(id)
      if not tasks[n] or tasks[n].state ~= 'dead' then return { 'missing', id } end
    end
    for _, t in ipairs(tasks) do
      t.run_at, t.deaths = NOW, 0
      call('ZREM', P .. '|dead', member(t))
      call('HDEL', task_key(t.id), 'died_at')
      call('HSET', task_key(t.id), 'state', 'waiting', 'run_at', NOW, 'attempts', 0, 'deaths', 0, 'solo_deaths', 0)
      count('dead', t.queue, -1)
      count('waiting', t.queue, 1)
      place(t)
    end
    return { #tasks }
  end

  function verbs.find(a)
    if call('EXISTS', task_key(a[1])) == 0 then return {} end
    return { written(a[1]) }
  end

  function verbs.remove(a)
    local gone = 0
    for _, id in ipairs(a) do
      local t = load(id)
      if t and t.state ~= 'leased' then
        if t.state == 'dead' then call('ZREM', P .. '|dead', member(t)) else displace(t) end
        count(t.state, t.queue, -1)
        call('DEL', task_key(id))
        gone = gone + 1
      end
    end
    return { gone }
  end

  -- For each queue: name, ready, delayed, leased, dead, paused as 0 or 1, concurrency or empty
  function verbs.depths()
    write_counts()
    local found, names = {}, {}
    local flat = call('HGETALL', P .. '|queues')
    for n = 1, #flat, 2 do
      local field, queue = string.match(flat[n], '^(%l+)|(.*)$')
      if not found[queue] then
        found[queue] = {}
        names[#names + 1] = queue
      end
      found[queue][field] = flat[n + 1]
    end
    table.sort(names)
    local answers = {}
    for _, queue in ipairs(names) do
      local f = found[queue]
      local waiting, leased, dead = tonumber(f.waiting or 0), tonumber(f.leased or 0), tonumber(f.dead or 0)
      if waiting + leased + dead > 0 or f.paused == '1' or f.limit then
        local later = '(' .. NOW
        local delayed = call('ZCOUNT', P .. queue .. '|delayed', later, '+inf')
        for _, class in ipairs({ '|ready', '|suspect' }) do
          -- None, unless the clock was set back since they became due.
          for _, level in ipairs(call('ZRANGE', P .. queue .. class, 0, -1)) do
            delayed = delayed + call('ZCOUNT', P .. queue .. class .. '|' .. level, later, '+inf')
          end
        end
        for _, word in ipairs({ queue, waiting - delayed, delayed, leased, dead, f.paused == '1' and 1 or 0, f.limit or '' }) do
          answers[#answers + 1] = word
        end
      end
    end
    return answers
  end

  -- field, queue, value (empty: none)
  function verbs.set(a)
    local field = a[1] .. '|' .. a[2]
    touched[a[2]] = 'work'
    if a[3] == '' then call('HDEL', P .. '|queues', field) else call('HSET', P .. '|queues', field, a[3]) end
    return {}
  end
end

local lane, number = P .. '|lane|' .. ARGV[2], tonumber(ARGV[3])
if number > 0 then
  local before = tonumber(call('GETRANGE', lane, 0, 15)) or 0
  if before == number then return call('GETRANGE', lane, 16, -1) end
  -- A call that the network held back, after its caller had sent it again and gone on.
  if before > number then return redis.error_reply('STALE call ' .. ARGV[3] .. ' of a lane that is at ' .. before) end
end
local lengths, answers, at = {}, {}, 5
while at <= #ARGV do
  local arguments, given = {}, tonumber(ARGV[at + 1])
  for n = 1, given do arguments[n] = ARGV[at + 1 + n] end
  if not verbs[ARGV[at]] then seldom() end
  local said = verbs[ARGV[at]](arguments)
  lengths[#lengths + 1] = #said
  for _, word in ipairs(said) do
    answers[#answers + 1] = word
    lengths[#lengths + 1] = #tostring(word)
  end
  at = at + 2 + given
end
write_counts()
for queue, why in pairs(touched) do
  local f = call('HMGET', P .. '|queues', 'wait|' .. queue, 'limit|' .. queue)
  if f[1] and (why == 'work' or f[2]) then
    call('HDEL', P .. '|queues', 'wait|' .. queue)
    call('XADD', P .. '|hints', 'MAXLEN', 1, '*', 'queue', queue)
  end
end
local answer = table.concat(lengths, ' ') .. '\n' .. table.concat(answers)
if number > 0 then call('SET', lane, string.format('%016.0f', number) .. answer, 'PX', LANE_MS) end
return answer
