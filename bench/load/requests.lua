-- Requests for wrk: another user each time, or requests signed beforehand.
--
--   -- users <uniform|zipf> <number of users> <prefix of their ids>
--   -- signed <file of "nonce mac" lines> <key id> <timestamp> <method> <path> <body-bytes>

local FIXED_USERS = 20000 -- up to so many, every request is made beforehand
local ZIPF_DRAWS = 2 ^ 18

local prepared, next_at = nil, 0

-- Park-Miller: the same users in the same order for the same seed, in every row.
local state = 1
local function random(n)
    state = (state * 48271) % 2147483647
    return state % n
end

local function user_request(prefix, user)
    return wrk.format(nil, nil, { ["x-user-id"] = string.format("%s%07d", prefix, user) })
end

-- Ranks by the inverse of the Zipf distribution's sum, with exponent 1: close enough, and cheap.
local function zipf(users)
    local draws = {}
    for at = 1, ZIPF_DRAWS do
        local share = random(1000003) / 1000003
        draws[at] = math.floor(math.exp(share * math.log(users + 1))) - 1
    end
    return draws
end

local function users(args)
    local distribution, count, prefix = args[2], tonumber(args[3]), args[4]
    if count <= FIXED_USERS and distribution == "uniform" then
        prepared = {}
        for user = 0, count - 1 do
            prepared[user + 1] = user_request(prefix, user)
        end
        request = function()
            return prepared[random(count) + 1]
        end
        return
    end
    local sample = user_request(prefix, 0)
    local from, to = string.find(sample, "0000000", 1, true)
    local head, tail = string.sub(sample, 1, from - 1), string.sub(sample, to + 1)
    local draws = distribution == "zipf" and zipf(count)
    request = function()
        local user
        if draws then
            next_at = next_at % ZIPF_DRAWS + 1
            user = draws[next_at]
        else
            user = random(count)
        end
        return head .. string.format("%07d", user) .. tail
    end
end

-- Each signed request is good for once: when they run out, wrk is told to stop.
local function signed(args)
    wrk.method, wrk.path = args[5], args[6]
    wrk.body = string.rep("x", tonumber(args[7]))
    local sample = wrk.format(nil, nil, {
        ["x-user-id"] = "u0000000",
        ["x-key-id"] = args[3],
        ["x-timestamp"] = args[4],
        ["x-request-id"] = "@nonce@",
        ["x-signature"] = "v1=@mac@",
        ["content-type"] = "application/json",
    })
    prepared = {}
    for line in io.lines(args[2]) do
        prepared[#prepared + 1] = line
    end
    request = function()
        next_at = next_at + 1
        local line = prepared[next_at]
        if not line then
            wrk.thread:stop()
            line = prepared[1]
        end
        local nonce, mac = string.match(line, "(%S+) (%S+)")
        local text = string.gsub(sample, "@nonce@", nonce)
        return (string.gsub(text, "@mac@", mac))
    end
end

function init(args)
    if args[1] == "signed" then
        signed(args)
    else
        users(args)
    end
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '\n{"requests":%d,"duration_us":%d,"not_2xx":%d,"failed":%d,"p50_us":%d,"p99_us":%d,"p999_us":%d}\n',
        summary.requests, summary.duration, errors.status,
        errors.connect + errors.read + errors.write + errors.timeout,
        latency:percentile(50), latency:percentile(99), latency:percentile(99.9)
    ))
end
