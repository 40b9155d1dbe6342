import type { BundleFile } from './files.ts';
import type { BundledPackage } from './packages.ts';

const RULE = '='.repeat(80);

/**
 * Creates the two files that accompany a bundle: the licences of the packages in it, which minifying removes from the
 * code, and a list of these packages for vulnerability scanners (CycloneDX 1.6). Both depend on the packages only. No
 * function reads them.
 * @param name the function's name
 * @param version Lambent's version
 * @see https://cyclonedx.org/docs/1.6/json/
 */
export function createNotices(name: string, version: string, packages: readonly BundledPackage[]): BundleFile[] {
  return [
    { name: 'THIRD-PARTY-NOTICES.txt', contents: formatLicenses(packages) },
    { name: 'sbom.cdx.json', contents: `${JSON.stringify(createSbom(name, version, packages), null, 1)}\n` },
  ];
}

/** Returns each text once, after the packages that it applies to. */
function formatLicenses(packages: readonly BundledPackage[]): string {
  const byText = new Map<string, string[]>();
  for (const { name, version, license, texts } of packages) {
    for (const text of texts) {
      const key = text.replaceAll('\r\n', '\n').trim();
      byText.set(key, [...(byText.get(key) ?? []), `${name} ${version} (${license})`]);
    }
  }
  const sections = [...byText].map(([text, users]) => `${RULE}\n${users.join('\n')}\n${RULE}\n\n${text}\n`);
  return `This function contains code of the following packages.\n\n${sections.join('\n')}`;
}

function createSbom(name: string, version: string, packages: readonly BundledPackage[]) {
  const root = `lambent-${name}@${version}`;
  const components = packages.map((each) => ({
    type: 'library',
    'bom-ref': toPackageUrl(each),
    name: each.name,
    version: each.version,
    licenses: [{ expression: each.license }],
    purl: toPackageUrl(each),
  }));
  return {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: {
      component: {
        type: 'application',
        'bom-ref': root,
        name: `lambent-${name}`,
        version,
        licenses: [{ expression: 'Apache-2.0' }],
      },
    },
    components,
    dependencies: [{ ref: root, dependsOn: components.map(({ purl }) => purl) }],
  };
}

/** @see https://github.com/package-url/purl-spec/blob/main/types-doc/npm-definition.md */
function toPackageUrl({ name, version }: BundledPackage): string {
  return `pkg:npm/${name.replace('@', '%40')}@${version}`;
}
