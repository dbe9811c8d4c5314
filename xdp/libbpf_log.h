// SPDX-License-Identifier: Apache-2.0
// What libbpf prints goes nowhere but here: while a LibbpfLog lives, the messages that libbpf prints on its thread are
// kept, so that a failure can be explained and a success stays quiet. Not to be nested.
#pragma once

#include <string>
#include <string_view>

namespace fairlead::xdp {

class LibbpfLog {
  public:
    LibbpfLog();
    ~LibbpfLog();
    LibbpfLog(const LibbpfLog&) = delete;
    LibbpfLog& operator=(const LibbpfLog&) = delete;

    // The last `lines` lines: a verifier's reason stands at the end of its log.
    std::string tail(int lines) const;

    // What the kernel said about a refused netlink request (its extended acknowledgement), or "".
    std::string kernel_message() const;

    void append(std::string_view text) { text_ += text; }

  private:
    std::string text_;
};

}  // namespace fairlead::xdp
