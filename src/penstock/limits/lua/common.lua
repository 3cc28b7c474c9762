-- Version 2 of what is stored. Common to the scripts of the ledger: it stands before each of them.
--
-- A scope is one hash, a key of KEYS. Its fields are packed (MessagePack), amounts as two numbers each:
--
--   times            due, ends: no lease expires before `due`, and none that expired is forgotten before; the key
--                    itself does not expire before `ends`
--   <limit>          the number of the running slice, the total, and used, reserved, expired of that slice
--   <limit>:<slice>  used, reserved, expired of an earlier one
--   @<lease>         expires, whether it is over, {limit, slice, amount, state of each entry ...}
--                    state: r reserved, x expired, g the slot of an expired lease: given back
--                    over: settled for good; what was asked before and comes late is refused
--
-- What the words mean is told in rows.py and windows.py. Times are microseconds of this server. Lua's numbers
-- are exact to 2^53 only, so amounts are pairs {billions, rest}.

local SLICES = 32
local BILLION = 1e9
local FOREVER = -1
local NONE = {0, 0}

local function num(text)
  if #text <= 9 then return {0, tonumber(text)} end
  return {tonumber(string.sub(text, 1, -10)), tonumber(string.sub(text, -9))}
end

local function add(a, b)
  local rest = a[2] + b[2]
  if rest >= BILLION then return {a[1] + b[1] + 1, rest - BILLION} end
  return {a[1] + b[1], rest}
end

local function less(a, b)
  return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2])
end

-- Never below nothing.
local function minus(a, b)
  if less(a, b) then return NONE end
  local rest = a[2] - b[2]
  if rest < 0 then return {a[1] - b[1] - 1, rest + BILLION} end
  return {a[1] - b[1], rest}
end

local function is_zero(n)
  return n[1] == 0 and n[2] == 0
end

local function now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- Months since the year 0. Years are counted from March, so that the leap day is the last of a year; 400 of
-- them are 146,097 days.
local function month(days)
  local since = days + 719468 -- from 0000-03-01
  local era = math.floor(since / 146097)
  local day = since - era * 146097
  local year = math.floor(
    (day - math.floor(day / 1460) + math.floor(day / 36524) - math.floor(day / 146096)) / 365)
  local of_year = day - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local from_march = math.floor((5 * of_year + 2) / 153)
  return (era * 400 + year) * 12 + from_march + 2
end

local function slice_of(window, now)
  local seconds = tonumber(window)
  if seconds then return math.floor(now / (seconds * 1000000 / SLICES)) end
  local days = math.floor(now / 86400000000)
  if window == 'day' then return days end
  if window == 'week' then return math.floor((days + 3) / 7) end
  if window == 'month' then return month(days) end
  return 0
end

-- What fields hold: how it is read, and written.

local TIMES = {
  read = function(text)
    local due, ends = cmsgpack.unpack(text)
    return {due = due, ends = ends}
  end,
  write = function(times) return cmsgpack.pack(times.due, times.ends) end,
}

local HEAD = {
  read = function(text)
    local number, t1, t2, u1, u2, r1, r2, x1, x2 = cmsgpack.unpack(text)
    return {number = number, total = {t1, t2}, used = {u1, u2}, reserved = {r1, r2}, expired = {x1, x2}}
  end,
  write = function(head)
    local total, used, reserved, expired = head.total, head.used, head.reserved, head.expired
    return cmsgpack.pack(head.number, total[1], total[2], used[1], used[2], reserved[1], reserved[2],
      expired[1], expired[2])
  end,
}

local SLICE = {
  read = function(text)
    local u1, u2, r1, r2, x1, x2 = cmsgpack.unpack(text)
    return {used = {u1, u2}, reserved = {r1, r2}, expired = {x1, x2}}
  end,
  write = function(slice)
    local used, reserved, expired = slice.used, slice.reserved, slice.expired
    return cmsgpack.pack(used[1], used[2], reserved[1], reserved[2], expired[1], expired[2])
  end,
}

local HOLD = {
  read = function(text)
    local expires, is_over, flat = cmsgpack.unpack(text)
    local entries = {}
    for i = 1, #flat, 5 do
      entries[#entries + 1] = {
        limit = flat[i], number = flat[i + 1], amount = {flat[i + 2], flat[i + 3]}, state = flat[i + 4]}
    end
    return {expires = expires, is_over = is_over, entries = entries}
  end,
  write = function(hold)
    local flat, at = {}, 0
    for _, entry in ipairs(hold.entries) do
      flat[at + 1], flat[at + 2] = entry.limit, entry.number
      flat[at + 3], flat[at + 4], flat[at + 5] = entry.amount[1], entry.amount[2], entry.state
      at = at + 5
    end
    return cmsgpack.pack(hold.expires, hold.is_over or false, flat)
  end,
}

-- Fields are fetched together, read when they are asked for, and written together at the end.

local function scope_of(key, keep)
  return {key = key, keep = keep, limits = {}, texts = {}, values = {}, dirty = {}}
end

local MOST = 1000 -- of a command: Lua's stack is bounded

local function fetch(scope, fields)
  for first = 1, #fields, MOST do
    local texts = redis.call('HMGET', scope.key, unpack(fields, first, math.min(#fields, first + MOST - 1)))
    for i, text in ipairs(texts) do scope.texts[fields[first + i - 1]] = text end
  end
end

local function get(scope, kind, field)
  local value = scope.values[field]
  if value == nil then
    local text = scope.texts[field]
    if text == nil then text = redis.call('HGET', scope.key, field) end
    value = text and kind.read(text)
    scope.values[field] = value
  end
  return value
end

-- false takes the field away.
local function put(scope, kind, field, value)
  scope.values[field] = value
  scope.dirty[field] = kind
end

local function write(scope)
  local values, gone = {}, {}
  for field, kind in pairs(scope.dirty) do
    local value = scope.values[field]
    if value then
      values[#values + 1] = field
      values[#values + 1] = kind.write(value)
    else
      gone[#gone + 1] = field
    end
  end
  for first = 1, #values, MOST do
    redis.call('HSET', scope.key, unpack(values, first, math.min(#values, first + MOST - 1)))
  end
  for first = 1, #gone, MOST do
    redis.call('HDEL', scope.key, unpack(gone, first, math.min(#gone, first + MOST - 1)))
  end
end

local function head_of(scope, key, number)
  return get(scope, HEAD, key) or {number = number, total = NONE, used = NONE, reserved = NONE, expired = NONE}
end

local function field_of(key, number)
  return string.format('%s:%d', key, number)
end

-- What a slice holds, and where; false: it does not exist.
local function slice(scope, key, number)
  local head = get(scope, HEAD, key)
  if head and head.number == number then return head, HEAD, key end
  local field = field_of(key, number)
  return get(scope, SLICE, field), SLICE, field
end

-- Adds to what is used, reserved or expired of a slice, and to the total.
local function change(scope, key, number, name, more, taken)
  local head = head_of(scope, key, number)
  put(scope, HEAD, key, head)
  local found, kind, field = slice(scope, key, number)
  found = found or {used = NONE, reserved = NONE, expired = NONE}
  found[name] = minus(add(found[name], more), taken)
  put(scope, kind, field, found)
  if name ~= 'expired' then head.total = minus(add(head.total, more), taken) end
end

-- Goes on to the slice of now, never back; what counts no more is dropped.
local function roll(scope, limit, now)
  local number, key = slice_of(limit.window, now), limit.key
  local head = head_of(scope, key, number)
  scope.values[key] = head
  if number > head.number then
    local oldest, old = number - limit.reach, {}
    if head.number < oldest then
      head.total = minus(minus(head.total, head.used), head.reserved)
    elseif not (is_zero(head.used) and is_zero(head.reserved)) then
      put(scope, SLICE, field_of(key, head.number), {
        used = head.used, reserved = head.reserved, expired = head.expired})
    end
    for past = math.max(0, head.number - limit.reach), math.min(head.number, oldest) - 1 do
      old[#old + 1] = field_of(key, past)
    end
    fetch(scope, old)
    for _, field in ipairs(old) do
      local found = get(scope, SLICE, field)
      if found then
        head.total = minus(minus(head.total, found.used), found.reserved)
        put(scope, SLICE, field, false)
      end
    end
    head.number, head.used, head.reserved, head.expired = number, NONE, NONE, NONE
    put(scope, HEAD, key, head)
  end
  limit.number, limit.head = head.number, head
end

local function times_of(scope)
  return get(scope, TIMES, 'times') or {due = FOREVER, ends = 0}
end

local function due(scope, at)
  local times = times_of(scope)
  if times.due == FOREVER or at < times.due then
    times.due = at
    put(scope, TIMES, 'times', times)
  end
end

local function lease_field(lease)
  return '@' .. lease
end

local function end_hold(scope, field, hold)
  for _, entry in ipairs(hold.entries) do
    if entry.state == 'r' then
      local is_slot = entry.limit == 'concurrency'
      entry.state = is_slot and 'g' or 'x'
      put(scope, HOLD, field, hold)
      if slice(scope, entry.limit, entry.number) then
        change(scope, entry.limit, entry.number, 'reserved', NONE, entry.amount)
        if not is_slot then
          change(scope, entry.limit, entry.number, 'used', entry.amount, NONE)
          change(scope, entry.limit, entry.number, 'expired', entry.amount, NONE)
        end
      end
    end
  end
end

local function expire(scope, now, kept)
  local times = times_of(scope)
  if times.due == FOREVER or now < times.due then return end
  times.due = FOREVER
  put(scope, TIMES, 'times', times)
  local all = redis.call('HGETALL', scope.key)
  for i = 1, #all, 2 do
    local field = all[i]
    if string.sub(field, 1, 1) == '@' then
      scope.texts[field] = all[i + 1]
      local hold = get(scope, HOLD, field)
      if hold.expires > now then
        due(scope, hold.expires)
      else
        end_hold(scope, field, hold)
        if hold.expires + kept <= now then
          put(scope, HOLD, field, false)
        else
          due(scope, hold.expires + kept)
        end
      end
    end
  end
end

-- A lease that had expired takes its slot again, whoever has it: its call runs.
local function prolong(scope, field, hold, now, ttl)
  if hold.is_over then return end
  for _, entry in ipairs(hold.entries) do
    if entry.state == 'g' then
      entry.state = 'r'
      change(scope, entry.limit, entry.number, 'reserved', entry.amount, NONE)
    end
  end
  hold.expires = now + ttl
  put(scope, HOLD, field, hold)
  due(scope, hold.expires)
end

-- Scopes and their limits from ARGV[first] on: keep_us, how many, then resource, window and amount of each. `field`
-- is that of the lease in question, if there is one.
local function open(now, kept, first, field)
  local scopes, at = {}, first
  for i = 1, #KEYS do
    local scope = scope_of(KEYS[i], tonumber(ARGV[at]))
    local fields = {'times', field}
    local count = tonumber(ARGV[at + 1])
    at = at + 2
    for l = 1, count do
      local resource, window = ARGV[at], ARGV[at + 1]
      local key = window == '' and resource or resource .. '/' .. window
      scope.limits[l] = {
        resource = resource, window = window, key = key, amount = num(ARGV[at + 2]),
        reach = tonumber(window) and SLICES or 0}
      fields[#fields + 1] = key
      at = at + 3
    end
    fetch(scope, fields)
    for _, limit in ipairs(scope.limits) do roll(scope, limit, now) end
    expire(scope, now, kept)
    scope.hold = field and get(scope, HOLD, field)
    scopes[i] = scope
  end
  return scopes
end

-- Writes what changed, and has the key live as long as that says something: an eighth longer, so that it need not
-- be said each time.
local function close(scopes, now, least)
  for _, scope in ipairs(scopes) do
    if next(scope.dirty) then
      local keep, times, command = math.max(scope.keep, least), times_of(scope), nil
      if scope.keep == 0 and times.ends ~= FOREVER then
        times.ends, command = FOREVER, {'PERSIST', scope.key}
      elseif scope.keep > 0 and times.ends < now + keep then
        times.ends = now + math.ceil(keep * 9 / 8)
        command = {'PEXPIRE', scope.key, string.format('%d', math.ceil((times.ends - now) / 1000))}
      end
      if command then put(scope, TIMES, 'times', times) end
      write(scope)
      if command then redis.call(unpack(command)) end
    end
  end
end

-- number, used, reserved, expired of each slice that counts, for Python to tell what it means.
local function slices(scope, limit)
  local fields, told = {}, {}
  for number = math.max(0, limit.number - limit.reach), limit.number - 1 do
    local field = field_of(limit.key, number)
    if scope.values[field] == nil then fields[#fields + 1] = field end
  end
  fetch(scope, fields)
  for number = math.max(0, limit.number - limit.reach), limit.number do
    local found = slice(scope, limit.key, number)
    if found then
      told[#told + 1] = number
      for _, amount in ipairs({found.used, found.reserved, found.expired}) do
        told[#told + 1] = amount[1]
        told[#told + 1] = amount[2]
      end
    end
  end
  return told
end
