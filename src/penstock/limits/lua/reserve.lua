-- ARGV: lease, ttl_us, kept_us, requests, tokens, pico_usd, scopes.
-- Returns {1, now, total and running slice of each limit but concurrency ...}, or
-- {0, now, {scope, limit, slices} of each limit that stands in the way ...}; counted from 0. None does when the
-- lease is over: nobody waits for this answer.
-- A lease that the scope knows gets more, and its time anew.

local lease, ttl, kept = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local cost = {requests = num(ARGV[4]), tokens = num(ARGV[5]), pico_usd = num(ARGV[6])}
local now = now_us()
local scopes = open(now, kept, 7)
local answer, failing = {1, now}, {0, now}

local function needed(scope, limit)
  if limit.resource == 'concurrency' then return {0, scope.hold and 0 or 1} end
  return cost[limit.resource]
end

local is_over = false
for s, scope in ipairs(scopes) do
  scope.hold = hold_of(scope, lease)
  is_over = is_over or (scope.hold ~= nil and scope.hold.is_over)
  if scope.hold then prolong(scope, scope.hold, now, ttl) end
  for l, limit in ipairs(scope.limits) do
    local amount = needed(scope, limit)
    if not is_zero(amount) and less(limit.amount, add(get(scope, limit.key).total, amount)) then
      failing[#failing + 1] = {s - 1, l - 1, slices(scope, limit)}
    end
  end
end

if is_over or #failing > 2 then
  for _, scope in ipairs(scopes) do
    if scope.hold then write_hold(scope, lease, scope.hold) end
  end
  close(scopes, (ttl + kept) / 1000)
  return is_over and {0, now} or failing
end

for _, scope in ipairs(scopes) do
  local hold = scope.hold or {expires = now + ttl, entries = {}}
  for _, limit in ipairs(scope.limits) do
    local amount = needed(scope, limit)
    if not is_zero(amount) then
      change(scope, limit.key, limit.number, {reserved = {amount, {0, 0}}})
      local last = hold.entries[#hold.entries]
      for _, entry in ipairs(hold.entries) do
        if entry.limit == limit.key then last = entry end
      end
      if last and last.limit == limit.key and last.number == limit.number and last.state == 'r' then
        last.amount = add(last.amount, amount)
      else
        hold.entries[#hold.entries + 1] = {
          limit = limit.key, number = limit.number, amount = amount, state = 'r'}
      end
    end
    if limit.resource ~= 'concurrency' then
      answer[#answer + 1] = str(get(scope, limit.key).total)
      answer[#answer + 1] = limit.number
    end
  end
  due(scope, hold.expires)
  write_hold(scope, lease, hold)
end
close(scopes, (ttl + kept) / 1000)
return answer
