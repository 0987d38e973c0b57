#include "isolators/seccomp_bpf.h"

#include <linux/audit.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>
#include <set>
#include <tuple>

namespace gantry {
namespace {
constexpr uint32_t kNrOffset = offsetof(seccomp_data, nr);
constexpr uint32_t kArchOffset = offsetof(seccomp_data, arch);
constexpr size_t kMaxNodes = 4096;

bool compare(uint16_t op, uint32_t value, uint32_t k) {
  switch (op) {
    case BPF_JEQ:
      return value == k;
    case BPF_JGT:
      return value > k;
    case BPF_JGE:
      return value >= k;
    default:
      return (value & k) != 0;  // BPF_JSET
  }
}

bool is_compare(uint16_t code) {
  const uint16_t op = BPF_OP(code);
  return BPF_CLASS(code) == BPF_JMP && BPF_SRC(code) == BPF_K &&
         (op == BPF_JEQ || op == BPF_JGT || op == BPF_JGE || op == BPF_JSET);
}

// ---- Taking apart ------------------------------------------------------------------------------

// What is left of the program once architecture and number are known.
struct Node {
  enum class Kind { load, mask, branch, answer } kind;
  uint16_t op = 0;
  uint32_t k = 0;         // offset, mask, comparand or answer
  int yes = -1, no = -1;  // nodes; load and mask go on at `yes`
  bool operator==(const Node&) const = default;
};
// Children before parents, the entry last.
using Residue = std::vector<Node>;

class Evaluator {
 public:
  Evaluator(const BpfProgram& program, uint32_t arch, uint32_t nr)
      : program_(program), arch_(arch), nr_(nr) {}
  Result<Residue> run() {
    const int entry = build(0, false, 0);
    if (entry < 0) return Error(Errc::unsupported, "the filter cannot be taken apart");
    return std::move(nodes_);
  }

 private:
  int add(Node node) {
    if (nodes_.size() >= kMaxNodes) return -1;
    nodes_.push_back(node);
    return static_cast<int>(nodes_.size()) - 1;
  }

  // The node for being at `pc` with the accumulator known or not; -1: cannot be done.
  int build(size_t pc, bool known, uint32_t value) {
    const auto key = std::tuple(pc, known, known ? value : 0);
    if (auto found = seen_.find(key); found != seen_.end()) return found->second;
    const int made = step(pc, known, value);
    seen_[key] = made;
    return made;
  }

  int step(size_t pc, bool known, uint32_t value) {
    for (; pc < program_.size(); ++pc) {
      const sock_filter& i = program_[pc];
      if (i.code == (BPF_LD | BPF_W | BPF_ABS)) {
        if (i.k == kNrOffset || i.k == kArchOffset) {
          known = true;
          value = i.k == kNrOffset ? nr_ : arch_;
          continue;
        }
        const int next = build(pc + 1, false, 0);
        return next < 0 ? -1 : add({.kind = Node::Kind::load, .k = i.k, .yes = next});
      }
      if (i.code == (BPF_ALU | BPF_AND | BPF_K)) {
        if (known || i.k == UINT32_MAX) {
          value &= i.k;
          continue;
        }
        const int next = build(pc + 1, false, 0);
        return next < 0 ? -1 : add({.kind = Node::Kind::mask, .k = i.k, .yes = next});
      }
      if (i.code == (BPF_RET | BPF_K)) return add({.kind = Node::Kind::answer, .k = i.k});
      if (i.code == (BPF_JMP | BPF_JA)) {
        pc += i.k;
        continue;
      }
      if (!is_compare(i.code)) return -1;
      if (known) {
        pc += compare(BPF_OP(i.code), value, i.k) ? i.jt : i.jf;
        continue;
      }
      const int yes = build(pc + 1 + i.jt, false, 0);
      const int no = yes < 0 ? -1 : build(pc + 1 + i.jf, false, 0);
      if (no < 0) return -1;
      if (yes == no) return yes;
      return add({.kind = Node::Kind::branch,
                  .op = static_cast<uint16_t>(BPF_OP(i.code)),
                  .k = i.k,
                  .yes = yes,
                  .no = no});
    }
    return -1;
  }

  const BpfProgram& program_;
  uint32_t arch_, nr_;
  Residue nodes_;
  std::map<std::tuple<size_t, bool, uint32_t>, int> seen_;
};

// Values at which a comparison with one of the program's constants changes its answer.
std::vector<uint32_t> breakpoints(const BpfProgram& program,
                                  const std::vector<SeccompOverride>& overrides) {
  std::set<uint32_t> out = {0};
  const auto add = [&](uint32_t k) {
    out.insert(k);
    if (k != UINT32_MAX) out.insert(k + 1);
  };
  for (const sock_filter& i : program) {
    if (is_compare(i.code)) add(i.k);
  }
  for (const SeccompOverride& o : overrides) {
    out.insert(o.first);
    add(o.last);
  }
  return {out.begin(), out.end()};
}

// ---- Putting together --------------------------------------------------------------------------

// From `start` on (to the next range) this residue decides.
struct Range {
  uint32_t start;
  int decision;
};
using Ranges = std::vector<Range>;

// Writes the program backwards: all jumps go forward, so that every target is there already. A
// place is an index into the reversed program.
class Emitter {
 public:
  int load(uint32_t offset) { return push({BPF_LD | BPF_W | BPF_ABS, 0, 0, offset}); }
  int mask(uint32_t k, int next) {
    fall_through(next);
    return push({BPF_ALU | BPF_AND | BPF_K, 0, 0, k});
  }
  int load_then(uint32_t offset, int next) {
    fall_through(next);
    return load(offset);
  }
  int answer(uint32_t k) {
    const auto near = answers_.find(k);
    if (near != answers_.end() && distance(near->second) < kNear) return near->second;
    return answers_[k] = push({BPF_RET | BPF_K, 0, 0, k});
  }
  int branch(uint16_t op, uint32_t k, int yes, int no) {
    // Eight bits of distance: farther ones by way of a jump of 32. One of those moves the other
    // away.
    if (distance(no) >= kNear) no = jump(no);
    if (distance(yes) >= kNear) yes = jump(yes);
    return push({static_cast<uint16_t>(BPF_JMP | op | BPF_K), static_cast<uint8_t>(distance(yes)),
                 static_cast<uint8_t>(distance(no)), k});
  }
  void fall_through(int next) {
    if (distance(next) != 0) jump(next);
  }
  BpfProgram finish() && {
    std::ranges::reverse(reversed_);
    return std::move(reversed_);
  }

 private:
  static constexpr int kNear = 250;
  int distance(int place) const { return static_cast<int>(reversed_.size()) - place - 1; }
  int push(sock_filter i) {
    reversed_.push_back(i);
    return static_cast<int>(reversed_.size()) - 1;
  }
  int jump(int place) {
    return push({BPF_JMP | BPF_JA, 0, 0, static_cast<uint32_t>(distance(place))});
  }
  BpfProgram reversed_;
  std::map<uint32_t, int> answers_;
};

// The cheapest tree of comparisons over ranges, near to balanced.
class Tree {
 public:
  template <class Leaf>
  Tree(const Ranges& ranges, Emitter& out, Leaf leaf)
      : ranges_(ranges), out_(out), known_(ranges.size() * ranges.size()) {
    entry_ = emit(0, ranges.size() - 1, leaf);
  }
  int entry() const { return entry_; }

 private:
  // One number between two stretches with one answer: a single comparison for equality.
  bool is_island(size_t first, size_t last) const {
    return last - first == 2 && ranges_[first].decision == ranges_[last].decision &&
           ranges_[last].start - ranges_[first + 1].start == 1;
  }
  int cost(size_t first, size_t last) {
    if (first == last) return 0;
    if (is_island(first, last)) return 1;
    return 1 + best(first, last).cost;
  }
  struct Split {
    int cost = 0;       // of both halves
    size_t middle = 0;  // where the right one begins; 0: not looked for yet
  };
  const Split& best(size_t first, size_t last) {
    Split& found = known_[first * ranges_.size() + last];
    if (found.middle != 0) return found;
    found.cost = INT32_MAX;
    const size_t slack = (last - first + 1) / 3;
    for (size_t middle = first + 1 + slack / 2; middle + slack / 2 <= last; ++middle) {
      const int sum = cost(first, middle - 1) + cost(middle, last);
      if (sum < found.cost) found = {sum, middle};
    }
    return found;
  }
  template <class Leaf>
  int emit(size_t first, size_t last, Leaf leaf) {
    if (first == last) return leaf(ranges_[first].decision);
    if (is_island(first, last)) {
      const int other = leaf(ranges_[first].decision);
      const int island = leaf(ranges_[first + 1].decision);
      return out_.branch(BPF_JEQ, ranges_[first + 1].start, island, other);
    }
    const size_t middle = best(first, last).middle;
    const int right = emit(middle, last, leaf);
    const int left = emit(first, middle - 1, leaf);
    return out_.branch(BPF_JGE, ranges_[middle].start, right, left);
  }

  const Ranges& ranges_;
  Emitter& out_;
  std::vector<Split> known_;
  int entry_ = -1;
};

// A residue that looks at one word only, by comparisons: its answers as ranges of that word.
bool as_word_ranges(const Residue& residue, uint32_t* offset, Ranges* ranges) {
  bool has_load = false;
  std::set<uint32_t> points = {0};
  for (const Node& node : residue) {
    if (node.kind == Node::Kind::mask || (node.kind == Node::Kind::branch && node.op == BPF_JSET)) {
      return false;
    }
    if (node.kind == Node::Kind::load) {
      if (has_load && node.k != *offset) return false;
      has_load = true;
      *offset = node.k;
    }
    if (node.kind == Node::Kind::branch) {
      points.insert(node.k);
      if (node.k != UINT32_MAX) points.insert(node.k + 1);
    }
  }
  if (!has_load) return false;
  for (uint32_t point : points) {
    const Node* at = &residue.back();
    while (at->kind != Node::Kind::answer) {
      const bool yes = at->kind == Node::Kind::load || compare(at->op, point, at->k);
      at = &residue[static_cast<size_t>(yes ? at->yes : at->no)];
    }
    const int decision = static_cast<int>(at->k);
    if (ranges->empty() || ranges->back().decision != decision) {
      ranges->push_back({point, decision});
    }
  }
  return true;
}

int emit_residue(const Residue& residue, Emitter& out) {
  uint32_t offset = 0;
  Ranges words;
  if (as_word_ranges(residue, &offset, &words)) {
    Tree tree(words, out, [&](int answer) { return out.answer(static_cast<uint32_t>(answer)); });
    return out.load_then(offset, tree.entry());
  }
  std::vector<int> places;
  for (const Node& node : residue) {
    const auto place = [&](int child) { return places[static_cast<size_t>(child)]; };
    switch (node.kind) {
      case Node::Kind::answer:
        places.push_back(out.answer(node.k));
        break;
      case Node::Kind::load:
        places.push_back(out.load_then(node.k, place(node.yes)));
        break;
      case Node::Kind::mask:
        places.push_back(out.mask(node.k, place(node.yes)));
        break;
      case Node::Kind::branch:
        places.push_back(out.branch(node.op, node.k, place(node.yes), place(node.no)));
        break;
    }
  }
  return places.back();
}

class Decisions {
 public:
  int number_of(Residue residue) {
    // Parts that nothing leads to any more must not make two equal decisions differ.
    for (size_t i = 0; i < all_.size(); ++i) {
      if (all_[i] == residue) return static_cast<int>(i);
    }
    all_.push_back(std::move(residue));
    return static_cast<int>(all_.size()) - 1;
  }
  const std::vector<Residue>& all() const { return all_; }

 private:
  std::vector<Residue> all_;
};

Result<Ranges> ranges_of(const BpfProgram& program, uint32_t arch,
                         const std::vector<SeccompOverride>& overrides, Decisions& decisions) {
  Ranges out;
  for (uint32_t nr : breakpoints(program, overrides)) {
    Residue residue;
    for (const SeccompOverride& o : overrides) {
      if (o.arch == arch && o.first <= nr && nr <= o.last) {
        residue = {{.kind = Node::Kind::answer, .k = o.action}};
      }
    }
    if (residue.empty()) residue = GANTRY_TRY(Evaluator(program, arch, nr).run());
    if (residue.back().kind == Node::Kind::answer) residue = {residue.back()};
    const int decision = decisions.number_of(std::move(residue));
    if (out.empty() || out.back().decision != decision) out.push_back({nr, decision});
  }
  return out;
}
}  // namespace

Result<uint32_t> run_filter(const BpfProgram& program, const seccomp_data& data) {
  uint32_t a = 0;
  for (size_t pc = 0; pc < program.size(); ++pc) {
    const sock_filter& i = program[pc];
    if (i.code == (BPF_LD | BPF_W | BPF_ABS)) {
      if (i.k % 4 != 0 || i.k > sizeof data - 4) break;
      std::memcpy(&a, reinterpret_cast<const char*>(&data) + i.k, 4);
    } else if (i.code == (BPF_ALU | BPF_AND | BPF_K)) {
      a &= i.k;
    } else if (i.code == (BPF_RET | BPF_K)) {
      return i.k;
    } else if (i.code == (BPF_JMP | BPF_JA)) {
      pc += i.k;
    } else if (is_compare(i.code)) {
      pc += compare(BPF_OP(i.code), a, i.k) ? i.jt : i.jf;
    } else {
      break;
    }
  }
  return Error(Errc::corrupt, "no seccomp filter");
}

Result<BpfProgram> compact_filter(const BpfProgram& program, const std::vector<uint32_t>& arches,
                                  const std::vector<SeccompOverride>& overrides) {
  Decisions decisions;
  std::vector<Ranges> tables;
  for (uint32_t arch : arches) {
    tables.push_back(GANTRY_TRY(ranges_of(program, arch, overrides, decisions)));
  }
  // Any other architecture: one that no program knows.
  const Residue other = GANTRY_TRY(Evaluator(program, 0xdeadbeef, 0).run());
  if (other.back().kind != Node::Kind::answer) {
    return Error(Errc::unsupported, "the filter looks at arguments of unknown architectures");
  }

  Emitter out;
  std::vector<int> places;  // of the decisions that are more than an answer
  for (const Residue& residue : decisions.all()) {
    places.push_back(residue.size() == 1 ? -1 : emit_residue(residue, out));
  }
  const auto leaf = [&](int decision) {
    const int place = places[static_cast<size_t>(decision)];
    return place >= 0 ? place : out.answer(decisions.all()[static_cast<size_t>(decision)][0].k);
  };
  // ORDER: the last architecture farthest from the beginning, the first right behind the choice.
  std::vector<int> entries(arches.size());
  for (size_t i = arches.size(); i-- > 0;) {
    Tree tree(tables[i], out, leaf);
    entries[i] = out.load_then(kNrOffset, tree.entry());
  }
  int choice = out.answer(other.back().k);
  for (size_t i = arches.size(); i-- > 0;) {
    choice = out.branch(BPF_JEQ, arches[i], entries[i], choice);
  }
  out.load_then(kArchOffset, choice);
  return std::move(out).finish();
}

std::vector<uint32_t> call_numbers_to_check(const BpfProgram& program,
                                            const std::vector<SeccompOverride>& overrides) {
  std::set<uint32_t> out;
  for (uint32_t point : breakpoints(program, overrides)) {
    for (uint32_t nr : {point - 1, point, point + 1}) out.insert(nr);
  }
  return {out.begin(), out.end()};
}

std::vector<uint64_t> arguments_to_check(const BpfProgram& program) {
  std::set<uint64_t> out = {0, 1, UINT32_MAX, UINT64_MAX};
  for (size_t pc = 0; pc < program.size(); ++pc) {
    const sock_filter& i = program[pc];
    const bool is_mask = i.code == (BPF_ALU | BPF_AND | BPF_K);
    if (!is_mask && !is_compare(i.code)) continue;
    // Numbers of calls are constants too; arguments are compared with few.
    if (!is_mask && i.k > 64 && i.k < 600) continue;
    for (uint64_t low : {uint64_t{i.k} - 1, uint64_t{i.k}, uint64_t{i.k} + 1}) {
      out.insert(low & UINT32_MAX);
      out.insert((low & UINT32_MAX) | uint64_t{1} << 32);
    }
    for (int bit = 0; is_mask && bit < 32; ++bit) {
      if ((i.k >> bit & 1) != 0) out.insert(uint64_t{1} << bit);
    }
  }
  return {out.begin(), out.end()};
}

Result<void> check_equal(const BpfProgram& program, const BpfProgram& compacted,
                         const std::vector<uint32_t>& arches,
                         const std::vector<SeccompOverride>& overrides) {
  std::vector<uint32_t> all = arches;
  all.insert(all.end(), {0u, 0xdeadbeefu, uint32_t{AUDIT_ARCH_AARCH64}});
  const auto numbers = call_numbers_to_check(program, overrides);
  const auto arguments = arguments_to_check(program);
  for (uint32_t arch : all) {
    for (uint32_t nr : numbers) {
      for (size_t index = 0; index < 3; ++index) {  // the profiles look at the first ones
        for (uint64_t argument : arguments) {
          seccomp_data data{};
          data.nr = static_cast<int>(nr);
          data.arch = arch;
          data.args[index] = argument;
          uint32_t expected = GANTRY_TRY(run_filter(program, data));
          for (const SeccompOverride& o : overrides) {
            if (o.arch == arch && o.first <= nr && nr <= o.last) expected = o.action;
          }
          const uint32_t got = GANTRY_TRY(run_filter(compacted, data));
          if (got == expected) continue;
          return Error(Errc::conflict,
                       cat("filters differ: architecture ", arch, ", call ", nr, ", argument ",
                           index, " = ", argument, ": ", got, " instead of ", expected));
        }
      }
    }
  }
  return {};
}
}  // namespace gantry
