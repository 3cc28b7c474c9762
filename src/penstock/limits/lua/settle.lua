-- ARGV: lease, whether it is known to be unknown, kept_us, requests, tokens, pico_usd, scopes.
-- Returns 0, and changes nothing, when no scope knows the lease and that was not known. Where one knows it, this
-- is the first time that it is settled: a scope that does not has lost it, and all is booked there.

local lease, is_due, kept = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3])
local actual = {requests = num(ARGV[4]), tokens = num(ARGV[5]), pico_usd = num(ARGV[6])}
local now = now_us()
local scopes = open(now, kept, 7)

local function settle(scope, hold, limit)
  local left, mine = actual[limit.resource] or {0, 0}, {}
  for _, entry in ipairs(hold.entries) do
    if entry.limit == limit.key and entry.state ~= 'g' then mine[#mine + 1] = entry end
  end
  for i, entry in ipairs(mine) do
    local counts = entry.number >= limit.number - limit.reach and slice(scope, entry.limit, entry.number)
    local taken = less(left, entry.amount) and left or entry.amount
    if counts and i == #mine then taken = left end
    left = minus(left, taken)
    if counts and entry.state == 'x' then
      change(scope, limit.key, entry.number, {
        used = {taken, entry.amount}, expired = {{0, 0}, entry.amount}})
    elseif counts then
      change(scope, limit.key, entry.number, {
        used = {taken, {0, 0}}, reserved = {{0, 0}, entry.amount}})
    end
  end
  if not is_zero(left) then
    change(scope, limit.key, limit.number, {used = {left, {0, 0}}})
  end
end

for _, scope in ipairs(scopes) do
  scope.hold = hold_of(scope, lease)
  is_due = is_due or scope.hold ~= nil
end
for _, scope in ipairs(is_due and scopes or {}) do
  for _, limit in ipairs(scope.limits) do settle(scope, scope.hold or {entries = {}}, limit) end
  redis.call('HDEL', scope.leases, lease)
end
close(scopes, kept / 1000)
return is_due and 1 or 0
