-- ARGV: kept_us, then for each scope keep_us, how many leases, and the name and ttl_us of each.

local kept, now, at = tonumber(ARGV[1]), now_us(), 2
for i = 1, #KEYS do
  local scope, fields, ttls = scope_of(KEYS[i], tonumber(ARGV[at])), {'times'}, {}
  local last = at + 1 + 2 * tonumber(ARGV[at + 1])
  for lease = at + 2, last, 2 do
    fields[#fields + 1] = lease_field(ARGV[lease])
    ttls[#fields] = tonumber(ARGV[lease + 1])
  end
  at = last + 1
  fetch(scope, fields)
  expire(scope, now, kept)
  local longest = 0
  for l = 2, #fields do
    local hold = get(scope, HOLD, fields[l])
    if hold then
      prolong(scope, fields[l], hold, now, ttls[l])
      longest = math.max(longest, ttls[l])
    end
  end
  close({scope}, now, longest + kept)
end
return now
