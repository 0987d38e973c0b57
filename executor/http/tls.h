// TLS for the clients of a listening TCP socket: which certificate this host shows, and which it
// asks for.
//
// A change of the revocation lists counts for the next connection, without a reload.
//
// Threads: loop only. Failure: files that cannot be used are refused when they are read, with the
// file named; a reload that fails leaves what was.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace gantry::http {
struct TlsFiles {
  std::string certificate, key;  // PEM; the certificate's chain behind it
  std::string client_ca;         // PEM; empty: clients are not asked for a certificate
  std::string crl;               // PEM: a list of each CA in a client's chain; empty: none
  // A client without a certificate may come in, to be known by something else; one whose
  // certificate is not the CA's may not.
  bool certificate_optional = false;
  // Told when the file of lists has changed and all files were read anew, or could not be.
  std::function<void(const Result<void>&)> on_new_crl = {};
};

class TlsContext {
 public:
  static Result<std::unique_ptr<TlsContext>> open(TlsFiles files);
  virtual ~TlsContext() = default;
  // Reads the files anew, for the connections that come.
  virtual Result<void> reload() = 0;
};
}  // namespace gantry::http
