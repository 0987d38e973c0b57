// The hostile corpus: no entry, in whatever order, writes outside the root or changes what is
// there.
#include "fetcher/worker/layer_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "base/sys.h"
#include "tests/unit/fetcher/tar_builder.h"

namespace gantry::worker {
namespace {
namespace fs = std::filesystem;
using test::TarItem;
using Items = std::vector<TarItem>;

class Bytes final : public Input {
 public:
  explicit Bytes(std::string bytes) : bytes_(std::move(bytes)) {}
  Result<std::string_view> next() override { return std::exchange(view_, {}); }

 private:
  std::string bytes_;
  std::string_view view_ = bytes_;
};

struct Writer : ::testing::Test {
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: owners and device nodes";
    char name[] = "/tmp/gantry-layer-test.XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir = name;
    fs::create_directories(dir + "/canary/sub");
    std::ofstream(dir + "/canary/secret") << "safe";
    std::ofstream(dir + "/canary/sub/f") << "safe";
    before = look(dir + "/canary");
  }
  void TearDown() override {
    if (!dir.empty()) fs::remove_all(dir);
  }

  // Names, modes, sizes and times of a tree.
  static std::string look(const std::string& top) {
    std::map<std::string, std::string> all;
    for (const auto& item : fs::recursive_directory_iterator(top)) {
      struct ::stat st;
      ::lstat(item.path().c_str(), &st);
      all[item.path().string()] = cat(st.st_mode, " ", st.st_size, " ", st.st_uid, " ", st.st_nlink,
                                      " ", st.st_mtim.tv_sec, ".", st.st_mtim.tv_nsec);
    }
    struct ::stat st;
    ::lstat(top.c_str(), &st);
    std::string out = cat(st.st_mode, " ", st.st_mtim.tv_sec, ".", st.st_mtim.tv_nsec, "\n");
    for (const auto& [name, facts] : all) out += cat(name, " ", facts, "\n");
    return out;
  }
  std::string layer(int n) const { return cat(dir, "/layer", n); }

  // Applies to layer N, on top of N-1 … 0. The umask is the worker's.
  Result<void> apply(int n, const Items& items, WriteAs as = WriteAs::layer,
                     WriteLimits limits = {}) {
    return apply_bytes(n, test::build_tar(items), as, limits);
  }
  Result<void> apply_bytes(int n, std::string bytes, WriteAs as = WriteAs::layer,
                           WriteLimits limits = {}) {
    mode_t mask = ::umask(0);
    auto done = [&]() -> Result<void> {
      fs::create_directories(layer(n));
      std::vector<DirFd> layers;
      for (int i = n; i >= 0; --i) layers.push_back(GANTRY_TRY(DirFd::open(layer(i))));
      LayerWriter writer(std::move(layers), as, limits);
      Bytes input(std::move(bytes));
      TarReader reader(input);
      while (auto entry = GANTRY_TRY(reader.next())) GANTRY_TRY(writer.apply(*entry, reader));
      GANTRY_TRY(writer.finish());
      root_opaque = writer.is_root_opaque();
      return {};
    }();
    ::umask(mask);
    return done;
  }
  bool is_whiteout_at(int n, const std::string& path) const {
    struct ::stat st;
    return ::lstat((layer(n) + "/" + path).c_str(), &st) == 0 && is_whiteout(st);
  }
  bool is_opaque_at(int n, const std::string& path) const {
    char c = 0;
    return ::lgetxattr((layer(n) + "/" + path).c_str(), "trusted.overlay.opaque", &c, 1) == 1;
  }
  std::string text(const std::string& path) const {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::string dir, before;
  bool root_opaque = false;
};

// Named as in containerd's TestBreakouts, and more. C stands for the canary's absolute path.
struct Breakout {
  const char* name;
  Items items;
};
const std::vector<Breakout>& breakouts() {
  static const std::vector<Breakout> all = {
      {"SymlinkAbsolute", {{'2', "l", "C"}, {'0', "l/x", "", "bad"}}},
      {"SymlinkUpAbsolute", {{'5', "d"}, {'2', "d/l", "C/../canary"}, {'0', "d/l/x", "", "bad"}}},
      {"SymlinkMultipleAbsolute", {{'2', "a", "C"}, {'2', "b", "/a"}, {'0', "b/x", "", "bad"}}},
      {"SymlinkRelative", {{'2', "l", "../canary"}, {'0', "l/x", "", "bad"}}},
      {"SymlinkUpRelative", {{'5', "d"}, {'2', "d/l", "../../canary"}, {'0', "d/l/x", "", "bad"}}},
      {"SymlinkMultipleRelative",
       {{'2', "a", "../canary"}, {'2', "b", "a/sub"}, {'0', "b/x", "", "bad"}}},
      {"SymlinkEmptyFile", {{'2', "l", "C/new"}, {'0', "l"}}},
      {"SymlinkWriteThrough", {{'2', "l", "C/secret"}, {'0', "l", "", "bad"}}},
      {"SymlinkChmod", {{'2', "l", "C/secret"}, {'2', "l", "C/secret", "", 0777}}},
      {"HardlinkAbsolute", {{'1', "h", "C/secret"}, {'0', "h", "", "bad"}}},
      {"HardlinkRelative", {{'1', "h", "../canary/secret"}, {'0', "h", "", "bad"}}},
      {"HardlinkDownRelative", {{'5', "d"}, {'1', "d/h", "../../canary/secret"}}},
      {"HardlinkThroughSymlink", {{'2', "l", "C"}, {'1', "h", "l/secret"}, {'0', "h", "", "bad"}}},
      {"HardlinkThroughSymlinkRelative", {{'2', "l", "../canary"}, {'1', "h", "l/secret"}}},
      {"HardlinkSymlinkRelative",
       {{'2', "l", "../canary/secret"}, {'1', "h", "l"}, {'0', "h", "", "bad"}}},
      {"HardlinkSymlinkAbsolute", {{'2', "l", "C/secret"}, {'1', "h", "l"}, {'0', "h", "", "bad"}}},
      {"HardlinkSymlinkChmod", {{'2', "l", "C/secret"}, {'1', "h", "l", "", 0777}}},
      {"HardlinkBeforeTarget", {{'1', "h", "later"}, {'0', "later", "", "x"}}},
      {"WhiteoutRoot", {{'0', ".wh."}}},
      {"WhiteoutCurDir", {{'0', "d/.wh.."}}},
      {"WhiteoutParentDir", {{'0', "d/.wh..."}}},
      {"WhiteoutSymlink", {{'2', "l", "C"}, {'0', "l/.wh.secret"}}},
      {"WhiteoutSymlinkRelative", {{'2', "l", "../canary"}, {'0', "l/.wh.secret"}}},
      {"WhiteoutUp", {{'0', "../canary/.wh.secret"}}},
      {"OpaqueSymlink", {{'2', "l", "C"}, {'0', "l/.wh..wh..opq"}}},
      {"OpaqueUp", {{'0', "../canary/.wh..wh..opq"}}},
      {"DotDotStart", {{'0', "../canary/x", "", "bad"}}},
      {"DotDotMiddle", {{'0', "a/../../canary/x", "", "bad"}}},
      {"DotDotEnd", {{'5', "a/../../canary/.."}}},
      {"Absolute", {{'0', "C/x", "", "bad"}}},
      {"RootIsASymlink", {{'2', "./", "C"}, {'0', "x", "", "bad"}}},
      {"RootIsAFile", {{'0', ".", "", "bad"}}},
      {"RootIsAHardlink", {{'1', "/", "C/secret"}}},
      {"DirectoryOverSymlink", {{'2', "l", "C"}, {'5', "l", "", "", 0777}, {'0', "l/x", "", "ok"}}},
      {"SymlinkOverDirectory",
       {{'5', "d"}, {'0', "d/a", "", "x"}, {'2', "d", "C"}, {'0', "d/a", "", "bad"}}},
      {"SymlinkLoop", {{'2', "a", "b"}, {'2', "b", "a"}, {'0', "a/x", "", "bad"}}},
      {"ProcSelfRoot", {{'2', "p", "/proc/self/root"}, {'0', "p/tmp/x", "", "bad"}}},
      {"ProcSelfCwd", {{'2', "p", "/proc/self/cwd"}, {'0', "p/x", "", "bad"}}},
      {"NodeOverSymlink", {{'2', "l", "C/secret"}, {'3', "l", "", "", 0666, 1, 3}}},
      {"FifoThroughSymlink", {{'2', "l", "C"}, {'6', "l/fifo"}}},
      {"DirectoryThroughSymlink", {{'2', "l", "C"}, {'5', "l/made/deep", "", "", 0777}}},
      {"DirectoryTimesThroughSymlink", {{'5', "d"}, {'5', "d/s"}, {'2', "d", "C"}}},
  };
  return all;
}

TEST_F(Writer, NoBreakoutTouchesTheCanary) {
  int tried = 0;
  for (const Breakout& one : breakouts()) {
    for (WriteAs as : {WriteAs::layer, WriteAs::plain_files}) {
      // With an empty layer below, so that whiteouts are real.
      fs::remove_all(layer(0)), fs::remove_all(layer(1));
      fs::create_directories(layer(0));
      Items items = one.items;
      for (TarItem& item : items) {
        for (std::string* s : {&item.path, &item.link}) {
          if (s->starts_with("C")) s->replace(0, 1, dir + "/canary");
        }
      }
      auto done = apply(1, items, as);
      EXPECT_EQ(look(dir + "/canary"), before) << one.name;
      EXPECT_EQ(text(dir + "/canary/secret"), "safe") << one.name;
      ++tried;
    }
  }
  EXPECT_GE(tried, 68);
}

TEST_F(Writer, TheRootMustBeADirectory) {
  for (const char* root : {".", "./", "/", "a/.."}) {
    auto done = apply(0, {{'2', root, "/etc"}});
    ASSERT_FALSE(done) << root;
    EXPECT_TRUE(done.error().is(Errc::invalid));
  }
  EXPECT_TRUE(apply(0, {{'5', "./", "", "", 0711}}));
}

TEST_F(Writer, DuplicatesTheLastOneWins) {
  ASSERT_TRUE(apply(0, {{'0', "x", "", "one"},
                        {'5', "x"},
                        {'0', "x/in", "", "a"},
                        {'2', "x", "y"},
                        {'0', "x", "", "two"},
                        {'0', "f", "", "long content"},
                        {'0', "f", "", "s"}}));
  EXPECT_EQ(text(layer(0) + "/x"), "two");
  EXPECT_EQ(text(layer(0) + "/f"), "s");
}

TEST_F(Writer, LinksInsideTheRootWork) {
  ASSERT_TRUE(apply(0, {{'5', "usr/lib"},
                        {'2', "lib", "usr/lib"},
                        {'2', "abs", "/usr/../usr/lib"},
                        {'0', "lib/a", "", "A"},
                        {'0', "abs/b", "", "B"},
                        {'1', "h", "abs/a"},
                        {'2', "up", "../../../usr"},
                        {'0', "up/lib/c", "", "C"}}));
  EXPECT_EQ(text(layer(0) + "/usr/lib/a"), "A");
  EXPECT_EQ(text(layer(0) + "/usr/lib/b"), "B");
  EXPECT_EQ(text(layer(0) + "/usr/lib/c"), "C");
  struct ::stat st;
  ASSERT_EQ(::stat((layer(0) + "/h").c_str(), &st), 0);
  EXPECT_EQ(st.st_nlink, 2u);
}

TEST_F(Writer, WhiteoutsOpaqueDirectoriesAndReplacements) {
  ASSERT_TRUE(apply(0, {{'5', "d", "", "", 0750},
                        {'0', "d/a", "", "a"},
                        {'0', "d/b", "", "b"},
                        {'5', "e"},
                        {'0', "e/x"},
                        {'5', "f"},
                        {'0', "f/old"},
                        {'0', "plain", "", "p"},
                        {'2', "s", "d"}}));
  ASSERT_TRUE(apply(1, {{'0', "d/.wh.a"},
                        {'0', "e/new", "", "n"},
                        {'0', "e/.wh..wh..opq"},
                        {'0', ".wh.f"},
                        {'5', "f"},
                        {'0', "f/new", "", "n"},
                        {'5', "g"},
                        {'0', ".wh.g"},
                        {'0', "s/.wh.b"},
                        {'0', "d/c", "", "c"},
                        {'0', ".wh..wh.plnk"},
                        {'0', "nowhere/.wh.x"}}));
  EXPECT_TRUE(is_whiteout_at(1, "d/a"));
  EXPECT_TRUE(is_whiteout_at(1, "d/b")) << "through a link of the layer below";
  EXPECT_FALSE(fs::exists(fs::symlink_status(layer(1) + "/s")));
  EXPECT_TRUE(is_opaque_at(1, "e"));
  EXPECT_EQ(text(layer(1) + "/e/new"), "n") << "the layer's own entry stays, whatever the order";
  EXPECT_TRUE(is_opaque_at(1, "f")) << "removed and made anew: nothing of the old one shows";
  EXPECT_TRUE(is_opaque_at(1, "g"));
  EXPECT_FALSE(is_opaque_at(1, "d"));
  EXPECT_FALSE(fs::exists(layer(1) + "/nowhere"));
  struct ::stat st;
  ASSERT_EQ(::stat((layer(1) + "/d").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0750u) << "a directory without an entry looks like the one below";
  ASSERT_TRUE(apply(2, {{'0', ".wh..wh..opq"}, {'0', "only"}}));
  EXPECT_TRUE(root_opaque);
}

TEST_F(Writer, AHardLinkIntoALayerBelowCopiesUp) {
  ASSERT_TRUE(apply(0, {{'0', "d/f", "", "content", 04755}, {'2', "l", "d/f"}}));
  ASSERT_TRUE(apply(1, {{'1', "h", "d/f"}, {'1', "hl", "l"}}));
  EXPECT_EQ(text(layer(1) + "/h"), "content");
  EXPECT_EQ(text(layer(1) + "/d/f"), "content");
  struct ::stat st;
  ASSERT_EQ(::stat((layer(1) + "/h").c_str(), &st), 0);
  EXPECT_EQ(st.st_nlink, 2u);
  EXPECT_EQ(st.st_mode & 07777, 04755u);
  EXPECT_EQ(fs::read_symlink(layer(1) + "/hl"), "d/f");
  ASSERT_TRUE(apply(2, {{'0', "d/.wh.f"}}));
  EXPECT_FALSE(apply(3, {{'1', "h2", "d/f"}})) << "what a layer removed cannot be linked to";
}

TEST_F(Writer, KernelAttributesAreNotTaken) {
  std::string pax = test::pax_record("SCHILY.xattr.trusted.overlay.opaque", "y") +
                    test::pax_record("SCHILY.xattr.trusted.overlay.redirect", "/etc") +
                    test::pax_record("SCHILY.xattr.user.overlay.opaque", "y") +
                    test::pax_record("SCHILY.xattr.security.selinux", "x") +
                    test::pax_record("SCHILY.xattr.user.mine", "v");
  ASSERT_TRUE(apply(0, {{'5', "d", "", "", 0755, 0, 0, pax}}));
  char names[1000];
  ssize_t size = ::listxattr((layer(0) + "/d").c_str(), names, sizeof names);
  EXPECT_EQ(std::string(names, static_cast<size_t>(std::max<ssize_t>(size, 0))),
            std::string("user.mine\0", 10));
}

TEST_F(Writer, BudgetsHold) {
  Items many(50, {'0', "x", "", "data"});
  for (size_t i = 0; i < many.size(); ++i) many[i].path = cat("f", i);
  auto done = apply(0, many, WriteAs::layer, {.max_entries = 49});
  ASSERT_FALSE(done);
  EXPECT_TRUE(done.error().is(Errc::exhausted));
  EXPECT_FALSE(apply(0, many, WriteAs::layer, {.max_bytes = 199}));
  EXPECT_FALSE(apply(0, {{'0', std::string(90, 'a') + "/" + "b", "", "12345"}}, WriteAs::layer,
                     {.max_file = 4}));
  std::string long_part(256, 'n'), long_path;
  for (int i = 0; i < 60; ++i) long_path += std::string(90, 'p') + "/";
  for (const std::string& path : {long_part, long_path}) {
    EXPECT_FALSE(apply(0, {{'0', "short", "", "", 0644, 0, 0, test::pax_record("path", path)}}));
  }
  EXPECT_FALSE(apply(0, {{'0', "short", "", "", 0644, 0, 0,
                          test::pax_record("SCHILY.xattr.user.big", std::string(70000, 'x'))}}));
  EXPECT_FALSE(apply(0, {{'0', "id", "", "", 0644, 0, 0, test::pax_record("uid", "4294967295")}}));
  // Depth: as many levels as a path of 4095 bytes has, and removal of them when replaced.
  std::string deep;
  for (int i = 0; i < 1500; ++i) deep += "d/";
  ASSERT_TRUE(apply(0, {{'5', "short", "", "", 0755, 0, 0, test::pax_record("path", deep)},
                        {'0', "d", "", "file"}}));
  EXPECT_EQ(text(layer(0) + "/d"), "file");
}

TEST_F(Writer, TruncationAnywhereIsAnErrorOrAPrefix) {
  std::string whole = test::build_tar(
      Items{{'5', "d"},
            {'0', "d/f", "", std::string(2000, 'x')},
            {'2', "l", "d"},
            {'0', "p", "", "tail", 0644, 0, 0, test::pax_record("path", "pax-name")}});
  for (size_t cut = 0; cut < whole.size(); cut += 512) {
    for (size_t extra : {size_t{0}, size_t{100}}) {
      fs::remove_all(layer(0));
      (void)apply_bytes(0, whole.substr(0, cut + extra));
      std::string damaged = whole;
      damaged[std::min(cut + extra, whole.size() - 1)] ^= 0x41;
      (void)apply_bytes(0, damaged);
      EXPECT_EQ(look(dir + "/canary"), before);
    }
  }
  EXPECT_FALSE(apply_bytes(0, whole.substr(0, 1700)));
}
}  // namespace
}  // namespace gantry::worker
