-- ARGV: lease, whether it is known to be unknown, whether it is over after that (0 no, 1 when it is settled, 2 also
-- when it is unknown), kept_us, requests, tokens, pico_usd, scopes.
-- Returns 0, and books nothing, when no scope knows the lease and that was not known. Where one knows it, this
-- is the first time that it is settled: a scope that does not has lost it, and all is booked there.

local field, is_due, seal, kept = lease_field(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[3]), tonumber(ARGV[4])
local actual = {requests = num(ARGV[5]), tokens = num(ARGV[6]), pico_usd = num(ARGV[7])}
local now = now_us()
local scopes = open(now, kept, 8, field)

local function settle(scope, hold, limit)
  local left, mine = actual[limit.resource] or NONE, {}
  for _, entry in ipairs(hold.entries) do
    if entry.limit == limit.key and entry.state ~= 'g' then mine[#mine + 1] = entry end
  end
  for i, entry in ipairs(mine) do
    local counts = entry.number >= limit.number - limit.reach and slice(scope, limit.key, entry.number)
    local taken = less(left, entry.amount) and left or entry.amount
    if counts and i == #mine then taken = left end
    left = minus(left, taken)
    if counts and entry.state == 'x' then
      change(scope, limit.key, entry.number, 'used', taken, entry.amount)
      change(scope, limit.key, entry.number, 'expired', NONE, entry.amount)
    elseif counts then
      change(scope, limit.key, entry.number, 'used', taken, NONE)
      change(scope, limit.key, entry.number, 'reserved', NONE, entry.amount)
    end
  end
  if not is_zero(left) then change(scope, limit.key, limit.number, 'used', left, NONE) end
end

local is_over = false
for _, scope in ipairs(scopes) do
  is_due = is_due or scope.hold
  is_over = is_over or (scope.hold and scope.hold.is_over)
end
for _, scope in ipairs(is_over and {} or scopes) do
  if is_due then
    for _, limit in ipairs(scope.limits) do settle(scope, scope.hold or {entries = {}}, limit) end
    put(scope, HOLD, field, false)
  end
  if seal == 2 or (is_due and seal == 1) then
    put(scope, HOLD, field, {expires = now, entries = {}, is_over = true})
    due(scope, now + kept)
  end
end
close(scopes, now, kept)
return is_due and 1 or 0
