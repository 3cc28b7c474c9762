-- ARGV: kept_us, scopes. Returns {now, slices of each limit of each scope ...}.

local now, kept = now_us(), tonumber(ARGV[1])
local scopes = open(now, kept, 2)
local answer = {now}
for _, scope in ipairs(scopes) do
  for _, limit in ipairs(scope.limits) do answer[#answer + 1] = slices(scope, limit) end
end
close(scopes, now, kept)
return answer
