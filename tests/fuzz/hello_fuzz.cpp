// SPDX-License-Identifier: Apache-2.0
// Any bytes are a hello or have a reason not to be; what is one is written again as the same bytes. Of an input of another
// length the first bytes are laid over a good hello, so that the mutator need not find the length.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "ctl/ha/hello.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace fairlead::ha;
    // As long as it is and no longer, so that reading beyond is seen.
    const auto exact = std::make_unique<std::uint8_t[]>(size);
    std::copy_n(data, size, exact.get());
    if (decode_hello({exact.get(), size}, kHelloTtl).has_value() && size != kHelloBytes) std::abort();

    auto bytes = encode_hello({false, 1, 2, 3, "lb-a", {{51, State::kBackup, 100, true}}});
    std::copy_n(data, std::min(size, bytes.size()), bytes.begin());
    const auto hello = decode_hello(bytes, kHelloTtl);
    if (hello && encode_hello(*hello) != bytes) std::abort();
    return 0;
}
