// Text that is handed to strangers: what looks like a secret is replaced by [hidden].
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gantry {
// What a name says is one (password=…, --token …, "secret": "…"), what is known by its looks (keys
// of clouds and forges, JSON web tokens, PEM, user and password of an address), and with
// `arguments` also values of variables (NAME=…) but switches, small numbers and paths, long words
// of mixed letters and digits, ids included, and what known clients take as a password (`mysql
// -pWORD`, `curl -u USER:WORD`).
enum class TextIs { log, arguments };
std::string hide_secrets(std::string_view text, TextIs kind);
// Of a command's words, with spaces between them.
std::string hide_secrets(const std::vector<std::string>& arguments);
// An address without user, password, and what its parameters' names say is a secret.
std::string hide_uri_secrets(std::string_view uri);
}  // namespace gantry
