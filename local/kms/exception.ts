/** An exception of KMS. Its name is the one in KMS's responses. */
export class KmsException extends Error {
  override readonly name:
    | 'AlreadyExistsException'
    | 'DisabledException'
    | 'IncorrectKeyException'
    | 'InvalidAliasNameException'
    | 'InvalidCiphertextException'
    | 'InvalidKeyUsageException'
    | 'KMSInvalidSignatureException'
    | 'KMSInvalidStateException'
    | 'NotFoundException'
    | 'UnknownOperationException'
    | 'UnsupportedOperationException'
    | 'ValidationException';

  constructor(name: KmsException['name'], message = '') {
    super(message);
    this.name = name;
  }
}
