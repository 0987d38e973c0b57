// The files of a checkpoint: whole and unchanged, or refused.
#include "checkpoint/image_set.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/sys.h"

namespace gantry {
namespace {
namespace fs = std::filesystem;

class ImageSet : public ::testing::Test {
 protected:
  ImageSet() : top(fs::temp_directory_path() / cat("image-set-", sys::random_hex(6))) {
    fs::create_directory(top);
    unfinished = unfinished_path(directory());
  }
  ~ImageSet() override { fs::remove_all(top); }
  std::string directory() const { return top / "one"; }
  void put(const fs::path& path, std::string_view text) { std::ofstream(path) << text; }
  // Made, sealed and finished, with two images.
  void make() {
    ASSERT_TRUE(create_checkpoint_directory(unfinished));
    put(fs::path(unfinished) / "images/a.img", "aaaa");
    put(fs::path(unfinished) / "images/b.img", "");
    record.set_container_id("c");
    Result<uint64_t> size = seal_checkpoint(unfinished, record);
    ASSERT_TRUE(size) << size.error().to_string();
    EXPECT_EQ(*size, 4u);
    ASSERT_TRUE(finish_checkpoint(unfinished, directory()));
  }
  Result<void> verify() {
    criu::Checkpoint read = GANTRY_TRY(read_checkpoint(directory()));
    return verify_images(directory(), read);
  }
  fs::path image(const char* name) const { return fs::path(directory()) / "images" / name; }

  fs::path top;
  std::string unfinished;
  criu::Checkpoint record;
};

TEST_F(ImageSet, WhatWasSealedIsReadBack) {
  make();
  Result<criu::Checkpoint> read = read_checkpoint(directory());
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(read->container_id(), "c");
  EXPECT_EQ(read->images_size(), 2);
  EXPECT_TRUE(verify());
  struct stat st;
  ASSERT_EQ(::stat(directory().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0700u);
  EXPECT_FALSE(fs::exists(unfinished));
}

TEST_F(ImageSet, UnfinishedNames) {
  EXPECT_EQ(unfinished_path("/a/b"), "/a/.tmp.b");
  EXPECT_EQ(finished_name(".tmp.b"), "b");
  EXPECT_EQ(finished_name("b"), std::nullopt);
}

TEST_F(ImageSet, ANameIsTakenOnce) {
  make();
  EXPECT_TRUE(create_checkpoint_directory(directory()).error().is(Errc::already_exists));
  ASSERT_TRUE(create_checkpoint_directory(unfinished));
  EXPECT_FALSE(finish_checkpoint(unfinished, directory()));
  EXPECT_TRUE(verify());
}

TEST_F(ImageSet, EveryChangeIsFoundAndNamed) {
  make();
  put(image("a.img"), "aaab");
  EXPECT_NE(verify().error().to_string().find("a.img"), std::string::npos);
  put(image("a.img"), "aaa");
  EXPECT_FALSE(verify());
  put(image("a.img"), "aaaa");
  EXPECT_TRUE(verify());
  put(image("c.img"), "");
  EXPECT_NE(verify().error().to_string().find("c.img"), std::string::npos);
  fs::remove(image("c.img"));
  fs::rename(image("a.img"), top / "a.img");
  EXPECT_NE(verify().error().to_string().find("lacks image a.img"), std::string::npos);
  fs::create_symlink(top / "a.img", image("a.img"));
  EXPECT_FALSE(verify());
  fs::remove(image("a.img"));
  fs::create_hard_link(top / "a.img", image("a.img"));
  EXPECT_FALSE(verify());
  fs::remove(image("a.img"));
  ASSERT_EQ(::mkfifo(image("a.img").c_str(), 0600), 0);
  EXPECT_FALSE(verify());
  fs::remove(image("a.img"));
  fs::rename(top / "a.img", image("a.img"));
  EXPECT_TRUE(verify());
  // A name that leads elsewhere.
  record.mutable_images(0)->set_name("../images/a.img");
  EXPECT_FALSE(verify_images(directory(), record));
}

TEST_F(ImageSet, TheImagesFolderIsNoLink) {
  make();
  fs::rename(fs::path(directory()) / "images", top / "images");
  fs::create_directory_symlink(top / "images", fs::path(directory()) / "images");
  EXPECT_FALSE(verify());
  EXPECT_FALSE(open_images(directory()));
}

TEST_F(ImageSet, WithoutARecordItIsNone) {
  EXPECT_TRUE(read_checkpoint(directory()).error().is(Errc::not_found));
  ASSERT_TRUE(create_checkpoint_directory(directory()));
  EXPECT_TRUE(read_checkpoint(directory()).error().is(Errc::corrupt));
}

TEST_F(ImageSet, ADamagedRecordIsCorrupt) {
  make();
  fs::path path = fs::path(directory()) / "record";
  std::string whole = *sys::read_file(path);
  for (size_t at = 0; at < whole.size(); ++at) {
    if (at == 4) continue;  // the version: an older one is read
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    put(path, changed);
    EXPECT_FALSE(read_checkpoint(directory())) << at;
  }
  for (size_t size = 0; size < whole.size(); ++size) {
    put(path, whole.substr(0, size));
    EXPECT_FALSE(read_checkpoint(directory())) << size;
  }
}

TEST_F(ImageSet, RemovedWholeAndOnlyWhatIsOurs) {
  make();
  put(fs::path(directory()) / "foreign", "");
  EXPECT_FALSE(remove_checkpoint_directory(directory()));
  EXPECT_TRUE(fs::exists(fs::path(directory()) / "foreign"));
  EXPECT_FALSE(fs::exists(image("a.img")));
  fs::remove(fs::path(directory()) / "foreign");
  EXPECT_TRUE(remove_checkpoint_directory(directory()));
  EXPECT_FALSE(fs::exists(directory()));
  EXPECT_TRUE(remove_checkpoint_directory(directory()));
}
}  // namespace
}  // namespace gantry
