#include "checkpoint/manifest.h"

#include <string>

#include "base/hash.h"
#include "fuzz/input.h"
#include "mxferry/error.h"

namespace mxferry::internal::fuzz {

void manifest(Input input) {
  try {
    const Manifest parsed = parse_manifest(text_of(input), kManifestName);
    for (const auto& [name, digest] : parsed) {
      require(!name.empty() && name.front() != '/', "a file name is relative");
      require(("/" + name + "/").find("/../") == std::string::npos, "a file is in the folder");
      require(is_hexadecimal(digest, kSha256Digits), "a digest is SHA-256");
    }
    require(parse_manifest(serialize_manifest(parsed), kManifestName) == parsed,
            "what was read returns");
  } catch (const Error& error) {
    require(error.code() == ErrorCode::invalid_manifest, "the manifest is to blame");
  }
}

}  // namespace mxferry::internal::fuzz
