// SPDX-License-Identifier: Apache-2.0
#include "ctl/sync/message.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "ctl/ha/wire.h"
#include "ctl/sync/records.h"

namespace fairlead::sync {
namespace {

using wire::get;
using wire::put;
using Bytes = std::span<const std::uint8_t>;

constexpr std::array<std::uint8_t, 4> kMagic = {'F', 'L', 'S', 'Y'};
constexpr std::size_t kVersionAt = 4, kTypeAt = 5, kFlagsAt = 6, kNameLengthAt = 7, kNonceAt = 8, kHeardAt = 16,
                      kCounterAt = 24, kSteeringAt = 32, kKeyIdAt = 36, kPinsAt = 40, kIntervalAt = 44;
constexpr std::size_t kAnswersAt = 0;
constexpr std::size_t kStreamAt = 0, kNumberAt = 8, kBodyFlagsAt = 16, kBeyondAt = 17;
constexpr std::uint8_t kHello = 1, kData = 2, kAck = 3;
constexpr std::uint8_t kHasState = 1;
constexpr std::uint8_t kCaughtUp = 1;  // of data
constexpr std::uint8_t kAnew = 1;      // of an ack

std::size_t put_body(std::span<std::uint8_t> to, const Hello& hello) {
    put(to, kAnswersAt, hello.answers);
    return kHelloBytes;
}

std::size_t put_body(std::span<std::uint8_t> to, const Data& data) {
    put(to, kStreamAt, data.stream);
    put(to, kNumberAt, data.number);
    to[kBodyFlagsAt] = data.caught_up ? kCaughtUp : 0;
    const auto records = to.subspan(kDataBytes, data.records.size());
    std::copy(data.records.begin(), data.records.end(), records.begin());
    return kDataBytes + records.size();
}

std::size_t put_body(std::span<std::uint8_t> to, const Ack& ack) {
    put(to, kStreamAt, ack.stream);
    put(to, kNumberAt, ack.next);
    to[kBodyFlagsAt] = ack.anew ? kAnew : 0;
    std::copy(ack.beyond.begin(), ack.beyond.end(), to.begin() + kBeyondAt);
    return kAckBytes;
}

// Flags that are not known are a later version's, and mean nothing here.
std::optional<std::variant<Hello, Data, Ack>> read_body(std::uint8_t type, Bytes body) {
    if (type == kHello && body.size() == kHelloBytes) return Hello{get<std::uint64_t>(body, kAnswersAt)};
    if (type == kData && body.size() >= kDataBytes && get<std::uint64_t>(body, kStreamAt) != 0)
        return Data{get<std::uint64_t>(body, kStreamAt), get<std::uint64_t>(body, kNumberAt),
                    (body[kBodyFlagsAt] & kCaughtUp) != 0, body.subspan(kDataBytes)};
    if (type != kAck || body.size() != kAckBytes) return std::nullopt;
    Ack ack{get<std::uint64_t>(body, kStreamAt),
            get<std::uint64_t>(body, kNumberAt),
            {},
            (body[kBodyFlagsAt] & kAnew) != 0};
    std::copy_n(body.begin() + kBeyondAt, kBitmapBytes, ack.beyond.begin());
    return ack;
}

std::optional<SyncRefusal> refuse_unread(Bytes bytes) {
    if (bytes.size() <= kHeaderBytes + kMacBytes || bytes.size() > kMessageBytes) return SyncRefusal::kLength;
    if (!std::equal(kMagic.begin(), kMagic.end(), bytes.begin())) return SyncRefusal::kMagic;
    if (bytes[kVersionAt] != kSyncVersion) return SyncRefusal::kVersion;
    return std::nullopt;
}

}  // namespace

void Authenticator::Free::operator()(evp_mac_ctx_st* context) const { EVP_MAC_CTX_free(context); }

// A libcrypto without HMAC and SHA-256, or no memory: nothing can go on.
Authenticator::Authenticator(const Key& key) {
    EVP_MAC* algorithm = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
    context_.reset(EVP_MAC_CTX_new(algorithm));
    EVP_MAC_free(algorithm);
    char digest[] = "SHA256";
    const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                     OSSL_PARAM_construct_end()};
    if (!context_ || EVP_MAC_init(context_.get(), key.bytes.data(), key.bytes.size(), parameters) != 1) std::abort();
}

Authenticator::Mac Authenticator::mac(std::span<const std::uint8_t> bytes) {
    std::array<std::uint8_t, 32> whole{};
    std::size_t size = 0;
    if (EVP_MAC_init(context_.get(), nullptr, 0, nullptr) != 1 ||
        EVP_MAC_update(context_.get(), bytes.data(), bytes.size()) != 1 ||
        EVP_MAC_final(context_.get(), whole.data(), &size, whole.size()) != 1)
        std::abort();
    Mac mac;
    std::copy_n(whole.begin(), mac.size(), mac.begin());
    return mac;
}

bool Authenticator::is_right(std::span<const std::uint8_t> bytes, std::span<const std::uint8_t, kMacBytes> mac) {
    const auto right = this->mac(bytes);
    return CRYPTO_memcmp(right.data(), mac.data(), kMacBytes) == 0;
}

std::size_t data_room(std::string_view name) {
    return kMessageBytes - kHeaderBytes - name.size() - kDataBytes - kMacBytes;
}

std::span<const std::uint8_t> encode_message(const Message& message, Authenticator& authenticator,
                                             MessageBuffer& buffer) {
    std::copy(kMagic.begin(), kMagic.end(), buffer.begin());
    buffer[kVersionAt] = kSyncVersion;
    buffer[kTypeAt] = static_cast<std::uint8_t>(kHello + message.body.index());
    buffer[kFlagsAt] = message.has_state ? kHasState : 0;
    buffer[kNameLengthAt] = static_cast<std::uint8_t>(message.name.size());
    put(buffer, kNonceAt, message.nonce);
    put(buffer, kHeardAt, message.heard);
    put(buffer, kCounterAt, message.counter);
    put(buffer, kSteeringAt, message.common.steering);
    put(buffer, kKeyIdAt, message.common.key_id);
    put(buffer, kPinsAt, message.common.pins);
    put(buffer, kIntervalAt, static_cast<std::uint32_t>(message.interval.count()));
    std::copy(message.name.begin(), message.name.end(), buffer.begin() + kHeaderBytes);
    std::size_t size = kHeaderBytes + message.name.size();
    size += std::visit([&](const auto& body) { return put_body(std::span(buffer).subspan(size), body); }, message.body);
    const auto mac = authenticator.mac(std::span(buffer).first(size));
    std::copy(mac.begin(), mac.end(), buffer.begin() + static_cast<std::ptrdiff_t>(size));
    return std::span(buffer).first(size + kMacBytes);
}

tl::expected<Message, SyncRefusal> decode_message(std::span<const std::uint8_t> bytes, Authenticator& authenticator) {
    const auto refuse = [](SyncRefusal why) { return tl::unexpected(why); };
    if (const auto why = refuse_unread(bytes)) return refuse(*why);
    const auto signed_part = bytes.first(bytes.size() - kMacBytes);
    if (!authenticator.is_right(signed_part, bytes.last<kMacBytes>())) return refuse(SyncRefusal::kMac);
    const std::size_t name_bytes = bytes[kNameLengthAt];
    if (signed_part.size() < kHeaderBytes + name_bytes) return refuse(SyncRefusal::kLength);
    const auto name = signed_part.subspan(kHeaderBytes, name_bytes);
    const auto body = read_body(bytes[kTypeAt], signed_part.subspan(kHeaderBytes + name_bytes));
    Message message{get<std::uint64_t>(bytes, kNonceAt),
                    get<std::uint64_t>(bytes, kHeardAt),
                    get<std::uint64_t>(bytes, kCounterAt),
                    {get<std::uint32_t>(bytes, kSteeringAt), get<std::uint32_t>(bytes, kKeyIdAt),
                     get<std::uint32_t>(bytes, kPinsAt)},
                    std::chrono::milliseconds(get<std::uint32_t>(bytes, kIntervalAt)),
                    (bytes[kFlagsAt] & kHasState) != 0,
                    {reinterpret_cast<const char*>(name.data()), name.size()},
                    {}};
    if (!body || message.nonce == 0 || !is_shown_name(message.name) || message.interval.count() == 0 ||
        message.interval > kLongestInterval)
        return refuse(SyncRefusal::kContent);
    message.body = *body;
    return message;
}

}  // namespace fairlead::sync
