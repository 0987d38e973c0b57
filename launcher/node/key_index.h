// Lookup from a key or a number to a slot: chained hash over fixed arrays, no allocation.
#pragma once

#include <string.h>

#include "launcher/protocol.h"

namespace gantry::node {
inline uint32_t hash_of(const char* key) {
  uint32_t h = 2166136261u;
  for (; *key != '\0'; ++key) h = (h ^ static_cast<unsigned char>(*key)) * 16777619u;
  return h;
}
inline uint32_t hash_of(int32_t number) { return static_cast<uint32_t>(number) * 2654435761u; }

// Links are slot + 1; 0 ends a chain. Zeroed memory is an empty index. Few heads: they are touched
// at random, so all of them become resident.
inline constexpr uint32_t kIndexHeads = 8192;
struct SlotIndex {
  uint32_t heads[kIndexHeads];
  uint32_t next[kTableSlots];

  void insert(uint32_t hash, uint32_t slot) {
    uint32_t& head = heads[hash % kIndexHeads];
    next[slot] = head;
    head = slot + 1;
  }
  void remove(uint32_t hash, uint32_t slot) {
    for (uint32_t* link = &heads[hash % kIndexHeads]; *link != 0; link = &next[*link - 1]) {
      if (*link == slot + 1) {
        *link = next[slot];
        return;
      }
    }
  }
  template <class Equal>
  uint32_t find(uint32_t hash, Equal equal) const {
    for (uint32_t link = heads[hash % kIndexHeads]; link != 0; link = next[link - 1]) {
      if (equal(link - 1)) return link - 1;
    }
    return kNoSlot;
  }
};
}  // namespace gantry::node
