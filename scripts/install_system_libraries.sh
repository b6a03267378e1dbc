#!/bin/sh
# The system libraries that Open3D imports and draws with. Called by `make install`.
#
# Installed where that needs no question (root on Debian or Ubuntu). Elsewhere the line to type is
# printed; until then pictures are drawn with matplotlib.
set -eu

packages="libusb-1.0-0 libgl1 libx11-6 libgomp1 libvulkan1 mesa-vulkan-drivers"

missing=""
for package in $packages; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing system libraries for Open3D:$missing"
  if { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >/dev/null 2>&1; then
    exit 0
  fi
  echo "apt-get could not install them; pictures will be drawn with matplotlib" >&2
fi
echo "For pictures drawn with Open3D, type: sudo apt-get install$missing (until then: matplotlib)"
