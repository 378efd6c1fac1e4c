# Reached only when the firmware found nothing to boot and fell into its shell: start over instead of waiting.
#
# With two slots that have both been good, neither of them on trial, the one that should have started cannot be loaded.
# Nobody has told which: the other one than last time is asked for, once. A slot that comes up this way puts itself first.
#
# The shell writes no NUL behind the name, and systemd-boot 257 then puts one over its last letter; it takes the name as a
# pattern, so stars behind it are harmless, one of them lost or not.
@echo -off
echo "imagekit: nothing here can be loaded, starting over"
for %d run (0 9)
  if exist fs%d:\loader\entries\imagekit-a.conf and exist fs%d:\loader\entries\imagekit-b.conf then
    if exist fs%d:\loader\imagekit-b then
      rm -q fs%d:\loader\imagekit-b
      setvar LoaderEntryOneShot -guid 4a67b082-0a4c-41cf-b6c7-440b29bb8c4f -nv -bs -rt =L"imagekit-a.conf**"
    else
      echo b > fs%d:\loader\imagekit-b
      setvar LoaderEntryOneShot -guid 4a67b082-0a4c-41cf-b6c7-440b29bb8c4f -nv -bs -rt =L"imagekit-b.conf**"
    endif
  endif
endfor
reset
