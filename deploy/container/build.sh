#!/usr/bin/env bash
# Builds an image with buildah, from the Dockerfile that every other builder uses. Not here: what is in it, or running it.
# Usage: build.sh [serve|full]
#
# Where no registry answers, debootstrap makes a base (needs root) that takes the Python image's name. pip's own settings
# for this machine, a certificate or an index, are lent to the build as secrets: no layer holds them.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${1:-serve}
base=$(sed -n 's/^FROM \(python:[^ ]*\) AS python$/\1/p' Dockerfile)
suite=${base##*-}
# chroot: works inside another container too, and needs no runtime to build.
export BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

ensure_base() {
	buildah inspect --type image "$base" >/dev/null 2>&1 && return
	buildah pull --quiet "$base" && return
	echo "No registry answers: making $base by debootstrap." >&2
	make_base
}

make_base() {
	local container root
	container=$(buildah from scratch)
	root=$(buildah mount "$container")
	debootstrap --variant=minbase --include=python3,python3-venv "$suite" "$root" >"$scratch/debootstrap.log" || {
		cat "$scratch/debootstrap.log" >&2
		exit 1
	}
	# What the Python image leaves out as well; and debootstrap copies two files of this machine.
	rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/* "$root"/usr/share/{man,locale}/*
	find "$root/usr/share/doc" -type f ! -name copyright -delete
	rm -f "$root"/etc/{hostname,resolv.conf}
	buildah umount "$container" >/dev/null
	buildah config --cmd python3 "$container"
	buildah commit --quiet --rm --format docker "$container" "$base" >/dev/null
}

# Prints one of pip's global settings, from the variable or the files. Not `pip config get`: it misses /etc/pip.conf
# beside a file of the user's.
pip_setting() {
	local python=python3
	# A system's Python often has no pip to ask.
	[[ ! -x .venv/bin/python ]] || python=.venv/bin/python
	"$python" -m pip config list 2>/dev/null | sed -nE "s/^(global|:env:)\.$1='(.*)'\$/\2/p" | head -n 1
}

# Writes pip.conf, and prints the options that lend it and its certificate to the build; prints nothing if there is none.
lend_pip_settings() {
	local certificate index
	certificate=$(pip_setting cert)
	index=$(pip_setting index-url)
	[[ -z $certificate$index ]] && return
	{
		echo "[global]"
		[[ -z $index ]] || echo "index-url = $index"
		[[ -z $certificate ]] || echo "cert = /run/secrets/ca.pem"
	} >"$scratch/pip.conf"
	echo "--secret=id=pip.conf,src=$scratch/pip.conf"
	[[ -z $certificate ]] || echo "--secret=id=ca.pem,src=$certificate"
}

ensure_base
mapfile -t secrets < <(lend_pip_settings)
# docker: the OCI format has no place for a health check.
buildah build --pull=never --network host --format docker --target "$target" "${secrets[@]}" --tag "homeostat:$target" .
