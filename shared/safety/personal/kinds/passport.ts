import { type FindValues, findMatches } from '../finding.ts';

/** The machine-readable zone of a passport (ICAO 9303, TD3): the line with the numbers, and the line with the name before it. */
const ZONES =
  /(?<![A-Z0-9<])(?:P[A-Z<][A-Z<]{42}\s{0,4})?[A-Z0-9<]{9}\d[A-Z<]{3}\d{7}[MFX<]\d{7}[A-Z0-9<]{14}[\d<]\d(?![A-Z0-9])/g;
/** A number after its name: with a first letter, or the nine digits of the United States and others. The check digit is only in the machine-readable zone. */
const NUMBERS =
  /(?:passport(?:,?[ ]?(?:no\.?|number|nr\.?|#))?|护照(?:号码?|编号)?)["']?[ ]?(?:[:=#]|is|是|为)?[ ]?["']?(?<value>[A-Z][A-Z0-9]{6,8}|\d{9})(?![A-Za-z0-9])/gi;
const LINE = 44;
const CHARACTERS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ';
const WEIGHTS = [7, 3, 1];

/** Finds the machine-readable zones of passports by their check digits, and the numbers of passports after their name. */
export const findPassports: FindValues = function* (text) {
  yield* findMatches(text, NUMBERS, (value) => (value.match(/\d/g)?.length ?? 0) >= 5);
  yield* findMatches(text, ZONES, (value) => {
    const line = value.slice(-LINE);
    const personal = line.slice(28, 42);
    return (
      computeCheckDigit(line.slice(0, 9)) === line[9] &&
      computeCheckDigit(line.slice(13, 19)) === line[19] &&
      computeCheckDigit(line.slice(21, 27)) === line[27] &&
      (computeCheckDigit(personal) === line[42] || (/^<+$/.test(personal) && line[42] === '<')) &&
      computeCheckDigit(line.slice(0, 10) + line.slice(13, 20) + line.slice(21, 43)) === line[43]
    );
  });
};

function computeCheckDigit(text: string): string {
  let sum = 0;
  // The filler `<` counts as 0.
  for (let index = 0; index < text.length; index++)
    sum += Math.max(0, CHARACTERS.indexOf(text[index] ?? '')) * (WEIGHTS[index % 3] ?? 0);
  return String(sum % 10);
}
