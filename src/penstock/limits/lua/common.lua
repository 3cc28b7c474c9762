-- Version 1 of what is stored. Common to the scripts of the ledger: it stands before each of them.
--
-- A scope is two hashes. KEYS[2i - 1] is its counts, KEYS[2i] the leases that hold something of it.
--
--   counts  <limit>           "<running slice> <total>"
--           <limit>:<slice>   "<used> <reserved> <expired>"
--           due               no lease expires before, and none that expired is forgotten before
--   leases  <lease>           "<expires>;<limit>:<slice>:<amount>:<state>;..."
--                             state: r reserved, x expired, g the slot of an expired lease: given back
--                             "<expires>;over": settled for good; what was asked before and comes late is refused
--
-- What the words mean is told in rows.py and windows.py. Times are microseconds of this server. Lua's numbers
-- are exact to 2^53 only, so amounts are pairs {billions, rest}.

local SLICES = 32
local BILLION = 1e9

local function num(text)
  if #text <= 9 then return {0, tonumber(text)} end
  return {tonumber(string.sub(text, 1, -10)), tonumber(string.sub(text, -9))}
end

local function str(n)
  if n[1] == 0 then return string.format('%d', n[2]) end
  return string.format('%d%09d', n[1], n[2])
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
  if less(a, b) then return {0, 0} end
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

-- Fields of the counts are read once and written at the end.

local function parsed(field, text)
  if not text then return nil end
  if field == 'due' then return tonumber(text) end
  if string.find(field, ':', 1, true) then
    local used, reserved, expired = string.match(text, '^(%d+) (%d+) (%d+)$')
    return {used = num(used), reserved = num(reserved), expired = num(expired)}
  end
  local number, total = string.match(text, '^(%d+) (%d+)$')
  return {number = tonumber(number), total = num(total)}
end

local function written(field, value)
  if field == 'due' then return string.format('%d', value) end
  if value.total then return string.format('%d ', value.number) .. str(value.total) end
  return str(value.used) .. ' ' .. str(value.reserved) .. ' ' .. str(value.expired)
end

local function read(scope, fields)
  local unknown = {}
  for _, field in ipairs(fields) do
    if scope.cache[field] == nil then unknown[#unknown + 1] = field end
  end
  if #unknown == 0 then return end
  local texts = redis.call('HMGET', scope.key, unpack(unknown))
  for i, field in ipairs(unknown) do scope.cache[field] = parsed(field, texts[i]) or false end
end

local function get(scope, field)
  if scope.cache[field] == nil then read(scope, {field}) end
  return scope.cache[field] or nil
end

local function put(scope, field, value)
  scope.cache[field] = value or false
  scope.dirty[field] = true
end

local function field_of(limit, number)
  return string.format('%s:%d', limit, number)
end

local function slice(scope, limit, number)
  return get(scope, field_of(limit, number))
end

-- Adds to a slice and to the total. Each of used, reserved, expired is {added, taken away}.
local function change(scope, limit, number, changes)
  local field = field_of(limit, number)
  local found = get(scope, field) or {used = {0, 0}, reserved = {0, 0}, expired = {0, 0}}
  local head = get(scope, limit) or {number = number, total = {0, 0}}
  for name, by in pairs(changes) do
    found[name] = minus(add(found[name], by[1]), by[2])
    if name ~= 'expired' then head.total = minus(add(head.total, by[1]), by[2]) end
  end
  put(scope, field, found)
  put(scope, limit, head)
end

-- Goes on to the slice of now, never back; what counts no more is dropped.
local function roll(scope, limit, now)
  local number = slice_of(limit.window, now)
  local head = get(scope, limit.key)
  if not head then
    put(scope, limit.key, {number = number, total = {0, 0}})
  elseif number > head.number then
    local old = {}
    for past = math.max(0, head.number - limit.reach), math.min(head.number, number - limit.reach - 1) do
      old[#old + 1] = field_of(limit.key, past)
    end
    read(scope, old)
    for _, field in ipairs(old) do
      local found = get(scope, field)
      if found then
        head.total = minus(minus(head.total, found.used), found.reserved)
        put(scope, field, nil)
      end
    end
    head.number = number
    put(scope, limit.key, head)
  end
  limit.number = get(scope, limit.key).number
end

local function read_hold(text)
  local hold = {entries = {}}
  for part in string.gmatch(text, '[^;]+') do
    if part == 'over' then
      hold.is_over = true
    elseif hold.expires then
      local limit, number, amount, state = string.match(part, '^([^:]+):(%d+):(%d+):(%a)$')
      hold.entries[#hold.entries + 1] = {
        limit = limit, number = tonumber(number), amount = num(amount), state = state}
    else
      hold.expires = tonumber(part)
    end
  end
  return hold
end

local function write_hold(scope, lease, hold)
  local parts = {string.format('%d', hold.expires), hold.is_over and 'over' or nil}
  for _, entry in ipairs(hold.entries) do
    parts[#parts + 1] = string.format(
      '%s:%d:%s:%s', entry.limit, entry.number, str(entry.amount), entry.state)
  end
  redis.call('HSET', scope.leases, lease, table.concat(parts, ';'))
end

local function due(scope, at)
  local before = get(scope, 'due')
  if not before or at < before then put(scope, 'due', at) end
end

local function end_hold(scope, lease, hold)
  local is_changed = false
  for _, entry in ipairs(hold.entries) do
    if entry.state == 'r' then
      is_changed = true
      local is_slot = entry.limit == 'concurrency'
      entry.state = is_slot and 'g' or 'x'
      if slice(scope, entry.limit, entry.number) then
        if is_slot then
          change(scope, entry.limit, entry.number, {reserved = {{0, 0}, entry.amount}})
        else
          change(scope, entry.limit, entry.number, {
            reserved = {{0, 0}, entry.amount},
            used = {entry.amount, {0, 0}},
            expired = {entry.amount, {0, 0}},
          })
        end
      end
    end
  end
  if is_changed then write_hold(scope, lease, hold) end
end

local function expire(scope, now, kept)
  local at = get(scope, 'due')
  if not at or now < at then return end
  put(scope, 'due', nil)
  local all = redis.call('HGETALL', scope.leases)
  for i = 1, #all, 2 do
    local lease, hold = all[i], read_hold(all[i + 1])
    if hold.expires > now then
      due(scope, hold.expires)
    else
      end_hold(scope, lease, hold)
      if hold.expires + kept <= now then
        redis.call('HDEL', scope.leases, lease)
      else
        due(scope, hold.expires + kept)
      end
    end
  end
end

-- A lease that had expired takes its slot again, whoever has it: its call runs.
local function prolong(scope, hold, now, ttl)
  if hold.is_over then return end
  for _, entry in ipairs(hold.entries) do
    if entry.state == 'g' then
      entry.state = 'r'
      change(scope, entry.limit, entry.number, {reserved = {entry.amount, {0, 0}}})
    end
  end
  hold.expires = now + ttl
  due(scope, hold.expires)
end

local function hold_of(scope, lease)
  local text = redis.call('HGET', scope.leases, lease)
  return text and read_hold(text) or nil
end

-- Scopes and their limits from ARGV[first] on: keep_ms, how many, then resource, window and amount of each.
local function open(now, kept, first)
  local scopes, at = {}, first
  for i = 1, #KEYS, 2 do
    local scope = {key = KEYS[i], leases = KEYS[i + 1], keep = tonumber(ARGV[at]), limits = {},
      cache = {}, dirty = {}}
    local fields = {'due'}
    local count = tonumber(ARGV[at + 1])
    at = at + 2
    for _ = 1, count do
      local resource, window = ARGV[at], ARGV[at + 1]
      local key = window == '' and resource or resource .. '/' .. window
      scope.limits[#scope.limits + 1] = {
        resource = resource, window = window, key = key, amount = num(ARGV[at + 2]),
        reach = tonumber(window) and SLICES or 0}
      fields[#fields + 1] = key
      fields[#fields + 1] = field_of(key, slice_of(window, now))
      at = at + 3
    end
    read(scope, fields)
    for _, limit in ipairs(scope.limits) do roll(scope, limit, now) end
    expire(scope, now, kept)
    scopes[#scopes + 1] = scope
  end
  return scopes
end

local function close(scopes, least_keep)
  for _, scope in ipairs(scopes) do
    local values, gone = {}, {}
    for field in pairs(scope.dirty) do
      local value = scope.cache[field]
      if value then
        values[#values + 1] = field
        values[#values + 1] = written(field, value)
      else
        gone[#gone + 1] = field
      end
    end
    if #values > 0 then redis.call('HSET', scope.key, unpack(values)) end
    if #gone > 0 then redis.call('HDEL', scope.key, unpack(gone)) end
    for _, key in ipairs({scope.key, scope.leases}) do
      if scope.keep > 0 then
        redis.call('PEXPIRE', key, math.ceil(math.max(scope.keep, least_keep)))
      else
        redis.call('PERSIST', key)
      end
    end
  end
end

-- number, used, reserved, expired of each slice that counts, for Python to tell what it means.
local function slices(scope, limit)
  local fields, numbers, told = {}, {}, {}
  for number = math.max(0, limit.number - limit.reach), limit.number do
    fields[#fields + 1] = field_of(limit.key, number)
    numbers[#numbers + 1] = number
  end
  read(scope, fields)
  for i, field in ipairs(fields) do
    local found = get(scope, field)
    if found then
      told[#told + 1] = string.format('%d', numbers[i])
      told[#told + 1] = str(found.used)
      told[#told + 1] = str(found.reserved)
      told[#told + 1] = str(found.expired)
    end
  end
  return told
end
