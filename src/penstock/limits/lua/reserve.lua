-- ARGV: lease, ttl_us, kept_us, requests, tokens, pico_usd, scopes.
-- Returns {1, now, total and running slice of each limit but concurrency ...}, or
-- {0, now, {scope, limit, slices} of each limit that stands in the way ...}; counted from 0. None does when the
-- lease is over: nobody waits for this answer.
-- A lease that the scope knows gets more, and its time anew.

local field, ttl, kept = lease_field(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local cost = {requests = num(ARGV[4]), tokens = num(ARGV[5]), pico_usd = num(ARGV[6])}
local now = now_us()
local scopes = open(now, kept, 7, field)
local answer, failing = {1, now}, {0, now}

local is_over = false
for s, scope in ipairs(scopes) do
  local hold = scope.hold
  is_over = is_over or (hold and hold.is_over)
  if hold then prolong(scope, field, hold, now, ttl) end
  for l, limit in ipairs(scope.limits) do
    limit.needed = cost[limit.resource] or {0, hold and 0 or 1}
    if not is_zero(limit.needed) and less(limit.amount, add(limit.head.total, limit.needed)) then
      failing[#failing + 1] = {s - 1, l - 1, slices(scope, limit)}
    end
  end
end

if is_over or #failing > 2 then
  close(scopes, now, ttl + kept)
  return is_over and {0, now} or failing
end

for _, scope in ipairs(scopes) do
  local hold = scope.hold or {expires = now + ttl, entries = {}}
  for _, limit in ipairs(scope.limits) do
    local amount, key, number, head = limit.needed, limit.key, limit.number, limit.head
    if not is_zero(amount) then
      head.reserved, head.total = add(head.reserved, amount), add(head.total, amount)
      put(scope, HEAD, key, head)
      local last
      for _, entry in ipairs(hold.entries) do
        if entry.limit == key then last = entry end
      end
      if last and last.number == number and last.state == 'r' then
        last.amount = add(last.amount, amount)
      else
        hold.entries[#hold.entries + 1] = {limit = key, number = number, amount = amount, state = 'r'}
      end
    end
    if limit.resource ~= 'concurrency' then
      local total, at = head.total, #answer
      answer[at + 1], answer[at + 2], answer[at + 3] = total[1], total[2], number
    end
  end
  put(scope, HOLD, field, hold)
  due(scope, hold.expires)
end
close(scopes, now, ttl + kept)
return answer
