# How images are built, and checked: what guests/build and bench/programs/build have in common. They source this in the
# folder they build in, with these set, and call `build "$@"`:
#   tool      their own name, for messages
#   lib       this folder
#   names     what there is to build, in the order of the list
#   runtime   all C and assembly sources beside the program's own
#   machine   the compiler's options for the instruction set
#   link      the linker's options
#   list      the file that the declarations in the sources give
#   path_of   a function: a name → the path of source and image, without their endings

gcc=riscv64-unknown-elf-gcc
version=12.2.0                      # another compiler makes other bytes

flags="$machine -mcmodel=medany -O2 -g0 -std=c11
  -ffreestanding -fno-pic -fno-stack-protector -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns
  -ffunction-sections -fdata-sections -Wall -Wextra -Werror -I$lib"
# -n: segments are not padded to pages in the file.
link="-nostdlib -nostartfiles -static -Wl,-n,--gc-sections,--build-id=none,--no-warn-rwx-segments -T $lib/guest.ld
  $link"

# Lays out lines of JSON, one to a declaration, one field to a line, as the formatter wants it.
lay_out() {
  awk '
    function newline(  i) { printf "\n"; for (i = 0; i < depth; i++) printf "  " }
    BEGIN { printf "["; depth = 1 }
    sub(/^ *GUESTS_JSON */, "") {
      if (some++) printf ","
      newline()
      text = 0
      for (i = 1; i <= length($0); i++) {
        c = substr($0, i, 1)
        if (c == "\"") text = !text
        if (text || c == "\"") printf "%s", c
        else if (c == "{" || c == "[") { printf "%s", c; depth++; newline() }
        else if (c == "}" || c == "]") { depth--; newline(); printf "%s", c }
        else if (c == ",") { printf ","; newline() }
        else if (c == ":") printf ": "
      }
    }
    END { printf "\n]\n" }'
}

build() {
  case "$*" in
    '') check=no ;;
    --check) check=yes ;;
    *) echo "usage: $tool [--check]" >&2; exit 64 ;;
  esac

  found=$("$gcc" -dumpfullversion 2>/dev/null) || found=none
  if [ "$found" != "$version" ]; then
    echo "$tool: needs $gcc $version, found $found" >&2
    exit 2
  fi

  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/runtime"
  objects=
  for source in $runtime; do
    object=$work/runtime/$(basename "${source%.*}").o
    "$gcc" $flags -c "$source" -o "$object"
    objects="$objects $object"
  done
  files=
  for name in $names; do
    path=$(path_of "$name")
    mkdir -p "$work/$(dirname "$path")"
    "$gcc" $flags -c "$path.c" -o "$work/$path.o"
    "$gcc" $flags $link $objects "$work/$path.o" -o "$work/$path.elf"
    # GUEST() expands to one line of JSON.
    "$gcc" $flags -E -P -DGUESTS_JSON=GUESTS_JSON -DGUEST_IMAGE="\"$path.elf\"" "$path.c" >> "$work/declarations"
    files="$files $path.elf"
  done
  lay_out < "$work/declarations" > "$work/$list"

  status=0
  for file in $files $list; do
    if [ $check = no ]; then
      install -m 644 "$work/$file" "$file"
    elif ! cmp -s "$work/$file" "$file"; then
      echo "$tool: $file is not what its sources build" >&2
      status=1
    fi
  done
  [ $check = no ] || [ $status != 0 ] || echo "$tool: all images and $list are what their sources build"
  exit $status
}
