// TLS for the clients of a listening TCP socket: which certificate this host shows, and which it
// asks for.
//
// Threads: loop only. Failure: files that cannot be used are refused when they are read, with the
// file named; a reload that fails leaves what was.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"

namespace gantry::http {
struct TlsFiles {
  std::string certificate, key;  // PEM; the certificate's chain behind it
  std::string client_ca;         // PEM; empty: clients are not asked for a certificate
  // A client without a certificate may come in, to be known by something else; one whose
  // certificate is not the CA's may not.
  bool certificate_optional = false;
};

class TlsContext {
 public:
  static Result<std::unique_ptr<TlsContext>> open(TlsFiles files);
  virtual ~TlsContext() = default;
  // Reads the files anew, for the connections that come.
  virtual Result<void> reload() = 0;
};
}  // namespace gantry::http
