// The makers of the commands, one file per group; the table in commands.cc names each.
#pragma once

#include <memory>

#include "executor/cli/command.h"

namespace gantry::cli {
std::unique_ptr<Command> make_run();         // run.cc
std::unique_ptr<Command> make_create();      // run.cc
std::unique_ptr<Command> make_attach();      // attach.cc
std::unique_ptr<Command> make_exec();        // exec.cc
std::unique_ptr<Command> make_ps();          // list.cc
std::unique_ptr<Command> make_inspect();     // inspect.cc
std::unique_ptr<Command> make_stats();       // stats.cc
std::unique_ptr<Command> make_events();      // events.cc
std::unique_ptr<Command> make_start();       // start.cc
std::unique_ptr<Command> make_restart();     // start.cc
std::unique_ptr<Command> make_update();      // update.cc
std::unique_ptr<Command> make_rename();      // update.cc
std::unique_ptr<Command> make_top();         // top.cc
std::unique_ptr<Command> make_logs();        // logs.cc
std::unique_ptr<Command> make_wait();        // lifecycle.cc
std::unique_ptr<Command> make_kill();        // lifecycle.cc
std::unique_ptr<Command> make_stop();        // lifecycle.cc
std::unique_ptr<Command> make_pause();       // lifecycle.cc
std::unique_ptr<Command> make_resume();      // lifecycle.cc
std::unique_ptr<Command> make_rm();          // lifecycle.cc
std::unique_ptr<Command> make_image();       // image.cc
std::unique_ptr<Command> make_images();      // images.cc
std::unique_ptr<Command> make_import();      // import.cc
std::unique_ptr<Command> make_rmi();         // images.cc
std::unique_ptr<Command> make_prune();       // prune.cc
std::unique_ptr<Command> make_cp();          // cp.cc
std::unique_ptr<Command> make_export();      // cp.cc
std::unique_ptr<Command> make_diff();        // diff.cc
std::unique_ptr<Command> make_commit();      // diff.cc
std::unique_ptr<Command> make_checkpoint();  // checkpoint.cc
std::unique_ptr<Command> make_restore();     // checkpoint.cc
std::unique_ptr<Command> make_submit();      // submit.cc
std::unique_ptr<Command> make_executor();    // executor.cc
std::unique_ptr<Command> make_system();      // system.cc
std::unique_ptr<Command> make_doctor();      // doctor.cc
std::unique_ptr<Command> make_version();     // version.cc
std::unique_ptr<Command> make_completion();  // completion.cc
std::unique_ptr<Command> make_complete();    // completion.cc
std::unique_ptr<Command> make_help();        // version.cc
}  // namespace gantry::cli
