#!/usr/bin/env bash
# Print the software bill of materials (CycloneDX JSON): every package that runs, with version, licence and digest,
# and Node.js where it comes along (--with-node). The same commit gives the same text: its time is the commit's, its
# number a digest of what is in it.
set -euo pipefail
cd "$(dirname "$0")/.."

export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
npm sbom --omit=dev --sbom-format cyclonedx 2>/dev/null | node -e '
  const sbom = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
  if (process.argv[1] === "--with-node") {
    const { version } = process;
    sbom.components.push({
      "bom-ref": `node@${version}`,
      type: "platform",
      name: "node",
      version: version.slice(1),
      purl: `pkg:generic/node@${version.slice(1)}`,
      licenses: [{ license: { id: "MIT" } }],
    });
  }
  // npm names it after the directory it is in.
  Object.assign(sbom.metadata.component, { type: "application", name: "stsrelay" });
  sbom.metadata.timestamp = new Date(Number(process.env.SOURCE_DATE_EPOCH) * 1000).toISOString();
  sbom.components.sort((a, b) => (a["bom-ref"] < b["bom-ref"] ? -1 : 1));
  const digest = require("node:crypto").createHash("sha256").update(JSON.stringify(sbom.components)).digest("hex");
  const version4 = `${digest.slice(0, 8)}-${digest.slice(8, 12)}-4${digest.slice(13, 16)}-8${digest.slice(17, 20)}-${digest.slice(20, 32)}`;
  sbom.serialNumber = `urn:uuid:${version4}`;
  console.log(JSON.stringify(sbom, null, 2));
' -- "${1:-}"
