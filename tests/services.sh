#!/usr/bin/env bash
# Installs what the tests on real parts need, where that may be done; elsewhere says what to install.
set -u
missing=()
armnn=()
PATH="$PATH:/usr/sbin"
command -v mosquitto >/dev/null || missing+=(mosquitto)
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing+=(postgresql)
[ -x /usr/bin/chromium ] || missing+=(chromium)
# Of the system's Python; not every release has these packages.
[ -d /usr/lib/python3/dist-packages/pyarmnn ] && ls /usr/lib/*/libarmnnTfLiteParser.so* >/dev/null 2>&1 \
  || armnn=(python3-pyarmnn libarmnn-cpuref-backend22 libarmnntfliteparser22 python3-numpy)
[ $((${#missing[@]} + ${#armnn[@]})) -eq 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing for the tests: ${missing[*]-} ${armnn[*]-}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq || exit 1
  if [ ${#missing[@]} -gt 0 ]; then
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || exit 1
  fi
  if [ ${#armnn[@]} -gt 0 ]; then
    apt-get install -y -qq --no-install-recommends "${armnn[@]}" >/dev/null \
      || echo "Arm NN could not be installed; its tests will be skipped."
  fi
else
  echo "Tests on these parts will be skipped; to run them: sudo apt-get install ${missing[*]-} ${armnn[*]-}"
fi
