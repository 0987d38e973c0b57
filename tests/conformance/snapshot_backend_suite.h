// What every SnapshotBackend promises. Tests inherit from SnapshotBackendSuite<Maker>, where
// Maker{}(worker, trash, directories) makes the back end. broken_promises() returns the promises
// that do not hold, so that the suite itself can be tried on a back end that is wrong on purpose.
#pragma once

#include "fetcher/trash.h"
#include "provisioner/backends.h"
#include "tests/integration/provisioner/rig.h"

namespace gantry::test {
using MakeBackend = std::unique_ptr<SnapshotBackend> (*)(WorkerClient&, Trash&, BackendDirectories);

class SnapshotBackendSuite : public ProvisionerRig {
 protected:
  void SetUp() override {
    Rig::SetUp();
    for (const char* name : {"roots", "work", "staging", "trash", "empty", "layers"}) {
      std::filesystem::create_directories(path(name));
    }
    trash_.emplace(loop_.get_executor(), *worker_, path("trash"));
    ASSERT_TRUE(trash_->open());
    // Two layers in overlayfs' format: a removed file, an opaque directory, a replaced one.
    ASSERT_EQ(
        shell(cat(
            "cd ", path("layers"),
            "; mkdir -p 0/d 0/opaque 0/swap 1/d 1/opaque; echo zero >0/d/keep; "
            "echo zero >0/d/gone; echo zero >0/opaque/old; echo zero >0/swap/x; echo zero >0/over; "
            "ln 0/d/keep 0/hard; chown 3:4 0/d/keep; chmod 4750 0/d/keep; setfattr -n user.a -v b "
            "0/d/keep; "
            "truncate -s 10M 0/sparse; mknod 1/d/gone c 0 0; setfattr -n trusted.overlay.opaque -v "
            "y 1/opaque; "
            "echo one >1/opaque/new; echo one >1/swap; echo one >1/over; chmod 1775 1; chown 8:9 "
            "1")),
        0);
    parent_.layers = {path("layers/1"), path("layers/0")};
    parent_.root_mode = 01775;
    parent_.root_uid = 8;
    parent_.root_gid = 9;
  }
  void TearDown() override {
    run_void(trash_->close());
    EXPECT_EQ(output(cat("ls -A ", path("staging"), " ", path("trash"), " | grep -v : | grep .")),
              "");
    trash_.reset();
    Rig::TearDown();
  }

  std::vector<std::string> broken_promises(MakeBackend make) {
    auto backend =
        make(*worker_, *trash_, {path("roots"), path("work"), path("staging"), path("empty")});
    std::vector<std::string> broken;
    auto promise = [&](bool holds, const char* what) {
      if (!holds) broken.emplace_back(what);
    };
    auto first = run(backend->prepare("one.x", parent_));
    if (!first) return {cat("prepare: ", first.error().to_string())};
    const char* script =
        "cd $R; cat d/keep over swap; ls d opaque | tr '\\n' ' '; stat -c '%a %u:%g %h' d/keep "
        "hard; stat -c '%a %u:%g' .; "
        ""
        "getfattr --only-values -n user.a d/keep; [ $(du -k sparse | cut -f1) -lt 100 ] && echo "
        "-holes";
    std::string seen = look(*first, script);
    promise(
        seen == "zero\none\none\nd: keep  opaque: new 4750 3:4 2\n4750 3:4 2\n1775 8:9\nb-holes\n",
        "the layers merge, upper ones win");
    if (!broken.empty()) broken.back() += cat(" (", seen, ")");
    promise(first->snapshot_key == "one.x", "the description carries the key");

    auto taken = run(backend->prepare("one.x", parent_));
    promise(!taken && taken.error().is(Errc::already_exists), "a taken key is already_exists");

    look(*first, "echo w >$R/written; rm $R/over; echo w >>$R/d/keep");
    auto again = run(backend->open("one.x", parent_));
    promise(
        again && look(*again, "cd $R; cat written; ls over 2>&1 | grep -c 'No such'") == "w\n1\n",
        "what was written is there when it is opened again");
    auto second = run(backend->prepare("two.x", parent_));
    promise(second &&
                look(*second, "cat $R/over; ls $R/written 2>&1 | grep -c 'No such'") == "one\n1\n",
            "snapshots do not see each other");
    promise(
        output(cat("cat ", path("layers/1/over"), " ", path("layers/0/d/keep"))) == "one\nzero\n",
        "layers never change");

    auto view = run(backend->view("view.x", parent_));
    promise(view && look(*view, "cat $R/over") == "one\n", "a view shows the layers");
    SnapshotParent single = parent_;
    single.layers = {path("layers/0")};
    auto one_layer = run(backend->view("view1.x", single));
    promise(one_layer && look(*one_layer, "cat $R/over") == "zero\n", "a view of one layer works");
    if (one_layer) look(*one_layer, "echo bad >$R/over 2>/dev/null");
    promise(output(cat("cat ", path("layers/0/over"))) == "zero\n",
            "a view cannot write to layers");

    auto usage = run(backend->usage("one.x"));
    promise(usage && usage->inodes >= 2 && usage->bytes > 0, "usage counts what was written");
    auto no_usage = run(backend->usage("none.x"));
    promise(!no_usage && no_usage.error().is(Errc::not_found), "usage of nothing is not_found");
    auto no_open = run(backend->open("none.x", parent_));
    promise(!no_open && no_open.error().is(Errc::not_found), "opening nothing is not_found");
    auto names = backend->list();
    auto has = [&](const char* key) {
      return names && std::ranges::find(*names, key) != names->end();
    };
    promise(has("one.x") && has("two.x"), "list names what there is");

    for (const char* bad : {"", ".", "..", "a/b", ".hidden"}) {
      promise(!run(backend->prepare(bad, parent_)) && !run(backend->remove(bad)),
              "bad keys are refused");
    }
    for (const char* key : {"one.x", "two.x", "view.x", "view1.x"}) {
      promise(run(backend->remove(key)).has_value(), "remove works");
      promise(run(backend->remove(key)).has_value(), "removing nothing is success");
    }
    names = backend->list();
    promise(names && names->empty(), "nothing is listed after removal");
    promise(run(backend->prepare("one.x", parent_)).has_value(), "a removed key is free at once");
    promise(run(backend->remove("one.x")).has_value(), "remove works");
    SnapshotParent missing = parent_;
    missing.layers = {path("layers/none"), path("layers/0")};
    auto never = run(backend->prepare("three.x", missing));
    if (!never) promise(backend->list()->empty(), "a failed prepare leaves nothing");
    run(backend->remove("three.x")).ignore("not there for a back end that fails early");
    return broken;
  }

  std::optional<Trash> trash_;
  SnapshotParent parent_;
};
}  // namespace gantry::test
