#!/usr/bin/env bash
# Prepares the text of `make demo`:
#
#   tools/demo_text.sh OUTPUT [TEXT]
#
# TEXT is a text file or a folder of them; without it, the reST sources of Python's documentation
# from the distribution's package. Writes
#   OUTPUT/train/        documents to learn from
#   OUTPUT/heldout.txt   every 50th document, one behind the other; nothing trains on it
#   OUTPUT/source        what the text is
set -euo pipefail
export LC_ALL=C

package=python3.11-doc
sources=usr/share/doc/python3.11/html/_sources
every=50  # one document of so many is held out
pieces=200  # a text of fewer than $every documents is cut into so many, at line ends

fail() {
  echo "demo: $*" >&2
  exit 1
}

output="${1:?usage: tools/demo_text.sh OUTPUT [TEXT]}"
text="${2:-}"
work="$output.new"
rm -rf "$work"
mkdir -p "$work/train" "$work/cut" "$work/package"

download() {
  (cd "$work/package" && apt-get -qq -o APT::Sandbox::User=root download "$package" 2>"apt.log")
}

# Fetched and unpacked here rather than installed: container images often leave /usr/share/doc out.
fetch_default_text() {
  if [ -d "/$sources" ]; then
    text="/$sources"
    return
  fi
  echo "demo: fetching $package for its text"
  command -v apt-get >/dev/null || fail "no apt-get to fetch a text with; use make demo TEXT=PATH"
  download || {
    "$(dirname "${BASH_SOURCE[0]}")/setup.sh" --update && download
  } || {
    cat "$work/package/apt.log" >&2
    fail "$package could not be fetched; use make demo TEXT=PATH"
  }
  dpkg-deb -x "$work/package/$package"_*.deb "$work/package"
  text="$work/package/$sources"
}

source="${text:-$package}"
[ -n "$text" ] || fetch_default_text
[ -e "$text" ] || fail "$text: there is no such file or folder"

mapfile -d '' documents < <(find -L "$text" -type f -size +0 -print0 | sort -z)
[ ${#documents[@]} -gt 0 ] || fail "$text: holds no text"
if [ ${#documents[@]} -lt "$every" ]; then
  cat "${documents[@]}" >"$work/all"
  split -n "l/$pieces" -a 4 -d --additional-suffix=.txt "$work/all" "$work/cut/"
  rm "$work/all"
  mapfile -d '' documents < <(find "$work/cut" -type f -size +0 -print0 | sort -z)
  [ ${#documents[@]} -ge "$every" ] || fail "$text: has too few lines to hold some of them out"
fi

number=0
for document in "${documents[@]}"; do
  number=$((number + 1))
  if [ $((number % every)) -eq 0 ]; then
    cat "$document" >>"$work/heldout.txt"
  else
    cp "$document" "$work/train/$(printf %05d $number).txt"
  fi
done
echo "$source" >"$work/source"
rm -rf "$work/cut" "$work/package" "$output"
mv "$work" "$output"
