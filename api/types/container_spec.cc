#include "api/types/container_spec.h"

#include <linux/capability.h>

namespace gantry {
CapabilitySpec default_capabilities() {
  constexpr int kDefault[] = {CAP_CHOWN,      CAP_DAC_OVERRIDE,     CAP_FSETID,     CAP_FOWNER,
                              CAP_MKNOD,      CAP_SETGID,           CAP_SETUID,     CAP_SETFCAP,
                              CAP_SETPCAP,    CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT, CAP_KILL,
                              CAP_AUDIT_WRITE};
  uint64_t mask = 0;
  for (int capability : kDefault) mask |= uint64_t{1} << capability;
  // CapInh stays 0 and ambient empty (CVE-2022-24769 and its family).
  return {.bounding = mask, .effective = mask, .permitted = mask};
}
}  // namespace gantry
