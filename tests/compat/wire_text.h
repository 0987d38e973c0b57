// What bytes of another version say, in words: by today's structs, names and checks. Of a message,
// the launcher's table and handover, or a plan; which one the file's name tells.
#pragma once

#include <string>

namespace gantry::test {
std::string wire_text(const std::string& name, const std::string& bytes);
}
