// Everything said about the command line, made from the one table of commands.
#pragma once

#include <string>
#include <string_view>

#include "executor/cli/command.h"

namespace gantry::cli {
struct GlobalOptions;
// The flags every command has.
void declare_global_flags(Flags& flags, GlobalOptions& options);

std::string overview_help();                        // gantry --help
std::string command_help(const CommandInfo& info);  // gantry COMMAND --help
std::string markdown_reference();                   // docs/cli.md
std::string man_page();                             // docs/man/gantry.1
}  // namespace gantry::cli
