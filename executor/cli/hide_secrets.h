// Text that is handed to strangers: what looks like a secret is replaced by [hidden].
#pragma once

#include <string>
#include <string_view>

namespace gantry::cli {
// What a name says is one (password=…, --token …, "secret": "…"), what is known by its looks (keys
// of clouds and forges, JSON web tokens, PEM, user and password of an address), and with
// `arguments` also values of variables (NAME=…) and long words of letters and digits, ids included.
enum class TextIs { log, arguments };
std::string hide_secrets(std::string_view text, TextIs kind);
}  // namespace gantry::cli
