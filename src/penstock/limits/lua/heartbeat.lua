-- ARGV: kept_us, then for each scope keep_ms, how many leases, and the name and ttl_us of each.

local kept, now, at = tonumber(ARGV[1]), now_us(), 2
for i = 1, #KEYS, 2 do
  local scope = {key = KEYS[i], leases = KEYS[i + 1], keep = tonumber(ARGV[at]), cache = {}, dirty = {}}
  local count, longest = tonumber(ARGV[at + 1]), 0
  at = at + 2
  expire(scope, now, kept)
  for _ = 1, count do
    local lease, ttl = ARGV[at], tonumber(ARGV[at + 1])
    local hold = hold_of(scope, lease)
    if hold then
      prolong(scope, hold, now, ttl)
      write_hold(scope, lease, hold)
      longest = math.max(longest, ttl)
    end
    at = at + 2
  end
  close({scope}, (longest + kept) / 1000)
end
return now
