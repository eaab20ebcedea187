#!/usr/bin/env bash
# Make the Debian package from dist/ (or $DIST) and node_modules/ (`make deb`):
#
#   build.sh [DIRECTORY]      default: dist-packages/; prints the path of the package
#
# What is needed to run goes in, with the Node.js 24 of node_modules: Debian's own is too old. Nothing is downloaded. The
# same commit gives the same package (SOURCE_DATE_EPOCH). DEB_COMPRESSION=none|gzip|xz|zstd, default xz.
set -euo pipefail
cd "$(dirname "$0")/../.."
umask 022

out=${1:-dist-packages}
version=$(node -p 'require("./package.json").version')
arch=$(dpkg --print-architecture)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}

dist=${DIST:-dist}
[[ -e $dist/main.js ]] || { echo "$dist/ is missing: make build" >&2; exit 1; }

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
lib=$root/usr/lib/stsrelay
doc=$root/usr/share/doc/stsrelay
share=$root/usr/share/stsrelay

put() { install -D -m "$1" "$2" "$3"; }

# The program, without the maps from dist/ to sources that are not there.
mkdir -p "$lib/node_modules"
cp -R "$dist" "$lib/dist"
find "$lib/dist" -name '*.map' -delete
put 644 package.json "$lib/package.json"
put 755 "$(realpath node_modules/.bin/node)" "$lib/bin/node"
# Packages that are needed to run, and no others; each without its tests and what only compilers and debuggers read.
npm ls --omit=dev --all --parseable 2>/dev/null | sed -n "s|^$PWD/node_modules/||p" | grep -v /node_modules/ |
  while read -r name; do
    mkdir -p "$lib/node_modules/$(dirname "$name")"
    cp -R "node_modules/$name" "$lib/node_modules/$name"
  done
find "$lib/node_modules" -type d \( -name test -o -name tests \) -exec test -e {}/../package.json \; -prune -exec rm -rf {} +
find "$lib/node_modules" -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -delete
put 755 deploy/debian/stsrelay.sh "$root/usr/bin/stsrelay"

put 644 deploy/stsrelay.service "$root/usr/lib/systemd/system/stsrelay.service"
put 644 deploy/systemd/sysusers.conf "$root/usr/lib/sysusers.d/stsrelay.conf"
put 644 deploy/systemd/tmpfiles.conf "$root/usr/lib/tmpfiles.d/stsrelay.conf"
put 640 deploy/stsrelay.yaml "$root/etc/stsrelay/stsrelay.yaml"
chmod 750 "$root/etc/stsrelay"

put 644 deploy/debian/stsrelay.8 "$root/usr/share/man/man8/stsrelay.8"
gzip -9n "$root/usr/share/man/man8/stsrelay.8"
put 644 deploy/debian/lintian-overrides "$root/usr/share/lintian/overrides/stsrelay"
mkdir -p "$doc" "$share"
for file in docs/*.md; do
  put 644 "$file" "$doc/$(basename "$file")"
done
cp -R deploy/smarthost "$doc/"
put 644 CHANGELOG.md "$doc/CHANGELOG.md"
cat > "$doc/changelog" <<END
stsrelay ($version) stable; urgency=medium

  * What changed is in CHANGELOG.md.

 -- $(sed -n 's/^Maintainer: //p' deploy/debian/control)  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
gzip -9n "$doc/changelog"
sed -e '/^@LICENSE@$/{r /dev/stdin' -e 'd}' deploy/debian/copyright > "$doc/copyright" \
  < <(sed -e '1,2d' -e 's/^$/./' -e 's/^/ /' LICENSE)
deploy/sbom.sh --with-node > "$doc/sbom.cdx.json"
cp -R deploy/prometheus grafana/dashboards grafana/provisioning "$share/"
rm -f "$share"/prometheus/*.test.yml

# Modes as they should be, whatever those of the checkout are.
find "$root/usr" -type d -exec chmod 755 {} +
find "$root/usr" -type f ! -path "$lib/bin/node" ! -path "$root/usr/bin/stsrelay" -exec chmod 644 {} +

mkdir "$root/DEBIAN"
size=$(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" deploy/debian/control > "$root/DEBIAN/control"
put 644 deploy/debian/conffiles "$root/DEBIAN/conffiles"
put 644 deploy/debian/templates "$root/DEBIAN/templates"
for script in config postinst prerm postrm; do
  put 755 "deploy/debian/$script" "$root/DEBIAN/$script"
done
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) > "$root/DEBIAN/md5sums"

mkdir -p "$out"
package=$out/stsrelay_${version}_$arch.deb
dpkg-deb --root-owner-group "-Z${DEB_COMPRESSION:-xz}" --build "$root" "$package" >/dev/null
echo "$package"
