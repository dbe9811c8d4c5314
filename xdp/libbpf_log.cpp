// SPDX-License-Identifier: Apache-2.0
#include "xdp/libbpf_log.h"

#include <bpf/libbpf.h>

#include <cstdarg>
#include <cstdio>
#include <vector>

namespace fairlead::xdp {
namespace {

// libbpf has one printing function a process and no context for it.
thread_local LibbpfLog* current_log = nullptr;

int print(libbpf_print_level level, const char* format, va_list arguments) {
    if (!current_log || level == LIBBPF_DEBUG) return 0;
    va_list again;
    va_copy(again, arguments);
    const int length = std::vsnprintf(nullptr, 0, format, arguments);
    if (length > 0) {
        std::vector<char> text(static_cast<std::size_t>(length) + 1);
        std::vsnprintf(text.data(), text.size(), format, again);
        current_log->append({text.data(), static_cast<std::size_t>(length)});
    }
    va_end(again);
    return length;
}

}  // namespace

LibbpfLog::LibbpfLog() {
    libbpf_set_print(print);
    current_log = this;
}

LibbpfLog::~LibbpfLog() { current_log = nullptr; }

std::string LibbpfLog::tail(int lines) const {
    std::size_t end = text_.find_last_not_of('\n');
    if (end == std::string::npos) return {};
    std::size_t start = end;
    while (lines-- > 0 && start != std::string::npos && start > 0) start = text_.rfind('\n', start - 1);
    start = start == std::string::npos || start == 0 ? 0 : start + 1;
    return text_.substr(start, end + 1 - start);
}

std::string LibbpfLog::kernel_message() const {
    constexpr std::string_view kMark = "Kernel error message: ";
    const std::size_t at = text_.rfind(kMark);
    if (at == std::string::npos) return {};
    const std::size_t start = at + kMark.size();
    return text_.substr(start, text_.find('\n', start) - start);
}

}  // namespace fairlead::xdp
