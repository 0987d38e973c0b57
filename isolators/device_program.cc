#include "isolators/device_program.h"

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace gantry {
namespace {
// Registers: r2 = type (1 block, 2 char), r3 = access (1 mknod, 2 read, 4 write), r4 = major,
// r5 = minor; r1 is a scratch register after the prologue.
bpf_insn instruction(uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm) {
  bpf_insn out{};
  out.code = code;
  out.dst_reg = dst & 0xf;
  out.src_reg = src & 0xf;
  out.off = off;
  out.imm = imm;
  return out;
}
bpf_insn load_word(uint8_t dst, int16_t offset) {
  return instruction(BPF_LDX | BPF_W | BPF_MEM, dst, BPF_REG_1, offset, 0);
}
bpf_insn skip_unless_equal(uint8_t reg, uint32_t value, int16_t over) {
  return instruction(BPF_JMP32 | BPF_JNE | BPF_K, reg, 0, over, static_cast<int32_t>(value));
}
void answer(std::vector<bpf_insn>& out, bool allow) {
  out.push_back(instruction(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, allow ? 1 : 0));
  out.push_back(instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
}

uint32_t access_bits(const std::string& access) {
  uint32_t bits = 0;
  for (char letter : access) {
    bits |= letter == 'm'   ? BPF_DEVCG_ACC_MKNOD
            : letter == 'r' ? BPF_DEVCG_ACC_READ
            : letter == 'w' ? BPF_DEVCG_ACC_WRITE
                            : 0;
  }
  return bits;
}

constexpr uint32_t kAllAccess = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;

// A rule as instructions that either answer or fall through to the next.
void add_rule(std::vector<bpf_insn>& out, const DeviceRule& rule) {
  std::vector<bpf_insn> tests;
  if (rule.type != 'a') {
    tests.push_back(skip_unless_equal(
        BPF_REG_2, rule.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR, 0));
  }
  const uint32_t access = access_bits(rule.access);
  if (rule.type != 'a' && access != kAllAccess) {
    // Allow: every access asked for is in the rule. Deny: any of them is.
    tests.push_back(instruction(BPF_ALU | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_3, 0, 0));
    const uint32_t mask = rule.allow ? ~access & kAllAccess : access;
    tests.push_back(
        instruction(BPF_ALU | BPF_AND | BPF_K, BPF_REG_1, 0, 0, static_cast<int32_t>(mask)));
    tests.push_back(rule.allow ? skip_unless_equal(BPF_REG_1, 0, 0)
                               : instruction(BPF_JMP32 | BPF_JEQ | BPF_K, BPF_REG_1, 0, 0, 0));
  }
  if (rule.type != 'a' && rule.major) {
    tests.push_back(skip_unless_equal(BPF_REG_4, *rule.major, 0));
  }
  if (rule.type != 'a' && rule.minor) {
    tests.push_back(skip_unless_equal(BPF_REG_5, *rule.minor, 0));
  }
  // Every conditional jump goes behind the two instructions of the answer.
  for (size_t i = 0; i < tests.size(); ++i) {
    if (BPF_CLASS(tests[i].code) == BPF_JMP32) {
      tests[i].off = static_cast<int16_t>(tests.size() - i - 1 + 2);
    }
  }
  out.insert(out.end(), tests.begin(), tests.end());
  answer(out, rule.allow);
}

int64_t bpf(int command, bpf_attr& attr) { return ::syscall(SYS_bpf, command, &attr, sizeof attr); }
}  // namespace

std::vector<bpf_insn> DeviceProgram::compile(const std::vector<DeviceRule>& rules) {
  std::vector<bpf_insn> out;
  // bpf_cgroup_dev_ctx: access_type (access << 16 | type), major, minor.
  out.push_back(load_word(BPF_REG_2, 0));
  out.push_back(instruction(BPF_ALU | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0));
  out.push_back(instruction(BPF_ALU | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff));
  out.push_back(instruction(BPF_ALU | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16));
  out.push_back(load_word(BPF_REG_4, 4));
  out.push_back(load_word(BPF_REG_5, 8));
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
    add_rule(out, *rule);
    if (rule->type == 'a') return out;  // decides everything that comes to it
  }
  answer(out, false);
  return out;
}

Result<DeviceProgram> DeviceProgram::load(const std::vector<DeviceRule>& rules) {
  const std::vector<bpf_insn> program = compile(rules);
  static constexpr char kLicense[] = "Apache-2.0";
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attr.insns = reinterpret_cast<uint64_t>(program.data());
  attr.insn_cnt = static_cast<uint32_t>(program.size());
  attr.license = reinterpret_cast<uint64_t>(kLicense);
  std::memcpy(attr.prog_name, "gantry_devices", 15);
  const int64_t fd = bpf(BPF_PROG_LOAD, attr);  // close-on-exec, always
  if (fd < 0) return Error::from_errno(errno, "load the device program");
  return DeviceProgram(UniqueFd(static_cast<int>(fd)));
}

Result<void> DeviceProgram::attach(int cgroup_fd) const {
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.target_fd = static_cast<uint32_t>(cgroup_fd);
  attr.attach_bpf_fd = static_cast<uint32_t>(fd_.get());
  attr.attach_type = BPF_CGROUP_DEVICE;
  attr.attach_flags = BPF_F_ALLOW_MULTI;
  if (bpf(BPF_PROG_ATTACH, attr) < 0) return Error::from_errno(errno, "attach the device program");
  std::memset(&attr, 0, sizeof attr);
  attr.query.target_fd = static_cast<uint32_t>(cgroup_fd);
  attr.query.attach_type = BPF_CGROUP_DEVICE;
  if (bpf(BPF_PROG_QUERY, attr) < 0) return Error::from_errno(errno, "ask for the device program");
  if (attr.query.prog_cnt == 0) return Error(Errc::conflict, "the device program is not attached");
  return {};
}
}  // namespace gantry
