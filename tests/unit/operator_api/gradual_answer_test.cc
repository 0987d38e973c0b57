#include "executor/gradual_answer.h"

#include <gtest/gtest.h>

#include "base/str.h"

namespace gantry {
namespace {
using Message = wire::agent::Response;

void add_entry(Message& message, int number) {
  auto* container = message.mutable_gantry_list()->add_containers();
  container->mutable_container_id()->set_value(cat("c", number));
  container->set_state("running");
}

// Whatever the pieces are, it is the answer that one piece would have been.
TEST(GradualAnswer, IsTheWholeAnswer) {
  for (Encoding encoding : {Encoding::json, Encoding::protobuf}) {
    for (int count : {0, 1, 2, 7, 100}) {
      for (int at_once : {1, 3, 200}) {
        Message whole, piece;
        whole.set_type(Message::GANTRY_LIST);
        whole.mutable_gantry_list();
        GradualAnswer answer(encoding, Message::GANTRY_LIST, "gantry_list");
        for (int i = 0; i < count; ++i) {
          add_entry(whole, i);
          add_entry(piece, i);
          if ((i + 1) % at_once != 0 && i + 1 != count) continue;
          answer.add(piece);
          piece.Clear();
        }
        const http::Response response = answer.finish();
        EXPECT_EQ(response.content_type, content_type(encoding));
        if (encoding == Encoding::json) {
          EXPECT_EQ(response.body, encode(encoding, whole));
          continue;
        }
        Message read;
        ASSERT_TRUE(read.ParseFromString(response.body));
        EXPECT_EQ(read.SerializeAsString(), whole.SerializeAsString());
      }
    }
  }
}
}  // namespace
}  // namespace gantry
